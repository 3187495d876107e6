/** Types of static/fanout.js. As a plain script it defines `Fanout` and `Faye` on `window`. */

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
  make(world?: Partial<World>): { Fanout: Fanout; Faye: Faye };
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

/** Rejections of Faye's client, out of the hub's "code:params:message". */
export interface FayeError {
  /** Three digits; null when the hub's text has another form. */
  code: number | null;
  params: string[];
  message: string;
  toString(): string;
}

export interface Deferrable<T = void> extends PromiseLike<T> {
  then<A = void, B = void>(
    callback?: ((value: T) => A | PromiseLike<A>) | null,
    errback?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;
  callback(callback: (value: T) => void, context?: unknown): void;
  errback(callback: (reason: any) => void, context?: unknown): void;
  /** Fail with `message` if nothing else has happened within so many seconds. */
  timeout(seconds: number, message?: unknown): void;
  setDeferredStatus(status: "succeeded" | "failed" | "unknown", value?: unknown): void;
}

export interface Subscription extends Deferrable {
  /** Also call back with the channel's name, for patterns. */
  withChannel(callback: (channel: string, data: Data) => void, context?: unknown): this;
  cancel(): void;
  unsubscribe(): void;
}

export type Publication = Deferrable;

/** A Bayeux message, as extensions see it. */
export interface Message {
  channel: string;
  [field: string]: any;
}

/** Hands a message on, now or later; null drops it. */
export type Pass = (message: Message | null) => void;

export interface Extension {
  // With three parameters the second is a request, which browsers don't have: null.
  incoming?: ((message: Message, pass: Pass) => void) | ((message: Message, request: null, pass: Pass) => void);
  outgoing?: ((message: Message, pass: Pass) => void) | ((message: Message, request: null, pass: Pass) => void);
  added?(client: FayeClient): void;
  removed?(client: FayeClient): void;
}

export interface FayeOptions {
  /** Seconds; until the hub's advice says otherwise. */
  interval?: number;
  timeout?: number;
  /** Seconds between attempts, at most. */
  retry?: number;
  /** Other URLs for single transports. */
  endpoints?: { websocket?: string; "long-polling"?: string };
  /** Decides over the publications; see Faye.Scheduler. */
  scheduler?: new (message: Message, options: SchedulerOptions) => Scheduler;
  /** Of Fanout's own build of Faye. What it asks for is what always happens here. */
  transportMode?: "fallback" | string;
  /** Known, and without effect in a browser. */
  proxy?: unknown;
  websocketExtensions?: unknown;
  tls?: unknown;
  ca?: unknown;
}

export interface SchedulerOptions {
  timeout: number;
  interval: number;
  attempts?: number;
  /** Milliseconds, of the world's clock. */
  deadline?: number;
}

export interface Scheduler {
  readonly message: Message;
  readonly options: SchedulerOptions;
  attempts: number;
  getTimeout(): number;
  getInterval(): number;
  isDeliverable(): boolean;
  send(): void;
  succeed(): void;
  fail(): void;
  abort(): void;
}

type Listener = (...values: any[]) => void;

/**
 * Faye's browser client, for pages that have one. Events: transport:up, transport:down, and `lost` with a
 * channel's name when messages may have been missed. Callbacks are not throttled.
 */
export interface FayeClient extends Deferrable {
  readonly UNCONNECTED: 1;
  readonly CONNECTING: 2;
  readonly CONNECTED: 3;
  readonly DISCONNECTED: 4;
  handshake(callback?: () => void, context?: unknown): void;
  connect(callback?: () => void, context?: unknown): void;
  /** Undefined when there is no session. The client is of no use afterwards. */
  disconnect(): Deferrable | undefined;
  /** Rejects with a FayeError. */
  subscribe(channel: string, callback?: (data: Data) => void, context?: unknown): Subscription;
  subscribe(channels: string[], callback?: (data: Data) => void, context?: unknown): Subscription[];
  unsubscribe(channel: string | string[], subscription?: Subscription): void;
  /**
   * Rejects with a FayeError. Sent again until the hub has answered, `attempts` are made or `deadline` seconds
   * have passed. Throws TypeError for what JSON can't say.
   */
  publish(channel: string, data: Data, options?: { attempts?: number; deadline?: number }): Publication;
  disable(feature: "websocket" | "long-polling" | "autodisconnect" | string): void;
  /** For long-polling; across origins the hub must allow it. */
  setHeader(name: string, value: string): void;
  addWebsocketExtension(extension: unknown): void;
  addExtension(extension: Extension): void;
  removeExtension(extension: Extension): void;
  on(type: string, listener: Listener): this;
  once(type: string, listener: Listener): this;
  off(type: string, listener: Listener): this;
  addListener(type: string, listener: Listener): this;
  removeListener(type: string, listener: Listener): this;
  removeAllListeners(type?: string): this;
  listeners(type: string): Listener[];
  countListeners(type: string): number;
  bind(type: string, listener: Listener, context?: unknown): this;
  unbind(type: string, listener?: Listener, context?: unknown): void;
  trigger(type: string, ...values: unknown[]): boolean;
  emit(type: string, ...values: unknown[]): boolean;
  debug(text: string, ...values: unknown[]): void;
  info(text: string, ...values: unknown[]): void;
  warn(text: string, ...values: unknown[]): void;
  error(text: string, ...values: unknown[]): void;
  fatal(text: string, ...values: unknown[]): void;
}

export interface Faye {
  /** Of the npm package whose surface this is. */
  readonly VERSION: string;
  /** Throws Error("Unrecognized option: x"). */
  Client: new (endpoint?: string, options?: FayeOptions) => FayeClient;
  Scheduler: new (message: Message, options: SchedulerOptions) => Scheduler;
  logger: null | ((line: string) => void) | { [level: string]: (line: string) => void };
}

export const Fanout: Fanout;
export const Faye: Faye;

declare global {
  interface Window {
    Fanout: Fanout;
    Faye: Faye;
  }
}
