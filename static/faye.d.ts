/** Types of static/faye.js: what fanout.js has, and Faye's client. It defines `Fanout` and `Faye` on `window`. */

import type { Data } from "./fanout";

export * from "./fanout";

declare module "./fanout" {
  interface Made {
    Faye: Faye;
  }
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

export const Faye: Faye;

declare global {
  interface Window {
    Faye: Faye;
  }
}
