/* The words of Bayeux that the client says, and what it makes of the hub's. */

export const HANDSHAKE = "/meta/handshake";
export const CONNECT = "/meta/connect";
export const SUBSCRIBE = "/meta/subscribe";
export const UNSUBSCRIBE = "/meta/unsubscribe";
export const DISCONNECT = "/meta/disconnect";
export const WEBSOCKET = "websocket";
export const POLLING = "long-polling";

// Milliseconds: a reply that takes longer will not come.
export const REPLY = 10000;

// The hub's words for a token that it does not take, or no longer.
export const BAD_TOKEN = /^401:.*token/i;
