/** Types of static/fanout.js. As a plain script it defines `Fanout` on `window`. With Faye: faye.d.ts. */

/** "epoch.offset": a place in a channel's history, as the hub writes it. Opaque to pages. */
export type Position = string;

/** Any JSON value. */
export type Data = any;

/** A JWT that the site made for this visitor, or nothing. */
export type Token = string | null | undefined;

export interface WatchOptions {
  /**
   * The channel's position from before the page read its data. What came after it is recovered, in order.
   * An empty string means "unknown": the page is asked to refetch once it is subscribed. Left out, the
   * subscription begins with what comes next.
   */
  position?: Position;
  /** Seconds between calls of the callback while the hub can't be reached; 0 for none. Default 10. */
  poll?: number;
  /** Seconds between calls of the callback while the hub is well; 0 for none. Default 300. */
  calmPoll?: number;
  /** Milliseconds between two calls: the first message acts at once, the last after this quiet. Default 500. */
  throttle?: number;
  /** Every message, in order, at once, even while the page is hidden. Default false. */
  raw?: boolean;
  /**
   * Called in place of the callback when messages may have been missed, or a slow poll is due: refetch.
   * Left out, the callback is called with undefined.
   */
  lost?: (() => unknown) | null;
}

export interface Watch {
  /** The channel, with its leading slash. */
  readonly channel: string;
  /** The newest position this page has of the channel; null while unknown, and for patterns. */
  readonly position: Position | null;
  /** Stop calling. The page's last one ends the connection. */
  cancel(): void;
}

/** Who is in a channel: users by name (the first 1,000), and how many sessions, the nameless too. */
export interface Here {
  users: string[];
  count: number;
}

export interface Fanout {
  /**
   * `url` names the hub, before the first subscribe. Default: the script tag's data-url, or /bayeux on the
   * script's own origin.
   *
   * `token` is shown with handshakes, subscribes and requests for presence, for channels whose rule takes one; or a
   * function that returns it or a promise of it (null for none), called before each handshake and subscribe, once
   * for those of the same moment, so that a page which is open for days always has one that is not expired. If it
   * throws, rejects or takes 10 s, that is an error of the page, and the client tries again as after a lost connection.
   * May be called at any time with a newer one.
   *
   * Throws Error for another option, and for another url once something is subscribed.
   */
  configure(options: { url?: string; token?: string | null | (() => Token | Promise<Token>) }): void;

  /**
   * Call back when something comes on a channel ("comments-17" or "/comments-17", or a pattern that ends in
   * "/*" or "/**"). The data is undefined when the page should refetch without a message: by slow poll, or
   * because messages may have been missed. Of a burst the first and the last are told. A hidden page is
   * left alone, and called within 300 ms when it shows. A callback that throws, or whose promise
   * rejects, is called again after `poll` seconds, and the error goes to the page's error handlers.
   *
   * Throws TypeError for an empty channel or a callback that is none. Refusals by the hub are reported as
   * errors of the page; the slow poll goes on.
   */
  subscribe(channel: string, callback: (data?: Data) => unknown, options?: WatchOptions): Watch;

  /**
   * Call back with who is in a channel, now and whenever it changes; where a rule of the hub lets this page see
   * it. What can't be loaded is an error of the page, and tried again.
   */
  presence(channel: string, callback: (here: Here) => unknown): Pick<Watch, "cancel">;

  /**
   * How the page is connected. "connecting" also while a page that woke (shown, online, back from the browser's cache
   * or from sleep) asks whether its connection is still alive: without an answer within 3 s it opens another.
   */
  readonly status: "idle" | "connecting" | "websocket" | "long-polling" | "unreachable";

  /**
   * Why the hub can't be reached, and what to change, in a sentence; empty while all is well, or nobody knows yet.
   * The console shows it too, once.
   */
  readonly reason: string;

  /** A client of its own: for pages of two hubs (`url`), and for tests, which replace more of its world. */
  make(world?: Partial<World>): Made;
}

/** What `make` makes; with static/faye.js, Faye's client of the same world too. */
export interface Made {
  Fanout: Fanout;
}

/** What the client needs of the world. */
export interface World {
  /** The hub, unless `configure` names one. */
  url: string | undefined;
  /** Milliseconds. */
  now(): number;
  /** From 0 up to, but not including, 1. */
  random(): number;
  later(call: () => void, ms: number): unknown;
  cancel(timer: unknown): void;
  fetch: typeof fetch;
  WebSocket: typeof WebSocket | undefined;
  /** Takes errors of the page's callbacks. */
  report(error: unknown): void;
  /** Tells whoever builds the page. */
  warn(text: string): void;
  document: Document | undefined;
  /** Where `online`, `offline`, `pagehide` and `pageshow` happen, and `location` is. */
  page: Window;
  storage: Storage | null;
}

export const Fanout: Fanout;

declare global {
  interface Window {
    Fanout: Fanout;
  }
}
