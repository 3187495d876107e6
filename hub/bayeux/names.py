"""The protocol's own channels, and the types of connection."""

from __future__ import annotations

HANDSHAKE = "/meta/handshake"
CONNECT = "/meta/connect"
SUBSCRIBE = "/meta/subscribe"
UNSUBSCRIBE = "/meta/unsubscribe"
DISCONNECT = "/meta/disconnect"
WEBSOCKET = "websocket"
EVENTSOURCE = "eventsource"
LONG_POLLING = "long-polling"
CALLBACK_POLLING = "callback-polling"
#: What a handshake announces. Faye's browser client picks from this list by its own order, and
#: calls long-polling from another origin a type of its own.
CONNECTION_TYPES = (WEBSOCKET, EVENTSOURCE, LONG_POLLING, "cross-origin-long-polling", CALLBACK_POLLING)
