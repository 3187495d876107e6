import { Session } from "./session.js";
import { DISCONNECT } from "./words.js";

/** What pages know as `Faye`: its browser client, as far as pages use it; faye.d.ts says how far. */
export function makeFaye(world) {
  const noop = () => {};
  const FAYE_OPTIONS = ["interval", "timeout", "endpoints", "proxy", "retry", "scheduler", "websocketExtensions",
    "tls", "ca", "transportMode"];

  function check(options, allowed) {
    for (const key of Object.keys(options)) {
      if (!allowed.includes(key)) throw new Error("Unrecognized option: " + key);
    }
  }

  class Deferrable {
    then(callback, errback) {
      if (!this._promise) {
        this._promise = new Promise((resolve, reject) => Object.assign(this, { _resolve: resolve, _reject: reject }));
      }
      return this._promise.then(callback || noop, errback || noop);
    }

    callback(callback, context) {
      if (callback) this.then((value) => guard(callback, context, value));
    }

    errback(callback, context) {
      if (callback) this.then(null, (reason) => guard(callback, context, reason));
    }

    timeout(seconds, message) {
      this.then();
      this._timer = world.later(() => this._reject(message), seconds * 1000);
    }

    setDeferredStatus(status, value) {
      world.cancel(this._timer);
      this.then();
      if (status === "succeeded") this._resolve(value);
      else if (status === "failed") this._reject(value);
      else delete this._promise;
    }
  }

  function guard(call, context, ...values) {
    try {
      call.apply(context, values);
    } catch (error) {
      world.report(error);
    }
  }

  function parseError(text = "") {
    const found = /^(\d{3}):([-\w!~()$@ /*.,]*):([-\w!~()$@ /*.]*)$/.exec(text);
    const [code, params, message] = found ? [+found[1], found[2].split(","), found[3]] : [null, [], text];
    return { code, params, message, toString: () => [code, params.join(","), message].join(":") };
  }

  class Subscription extends Deferrable {
    constructor(client, channel, callback, context) {
      super();
      Object.assign(this, { _client: client, _channel: channel, _callback: callback, _context: context });
    }

    withChannel(callback, context) {
      this._withChannel = [callback, context];
      return this;
    }

    cancel() {
      if (!this._cancelled) this._client.unsubscribe(this._channel, this);
      this._cancelled = true;
    }

    unsubscribe() {
      this.cancel();
    }

    take(data, channel) {
      if (this._callback) guard(this._callback, this._context, data);
      if (this._withChannel) guard(this._withChannel[0], this._withChannel[1], channel, data);
    }

    ready() {
      this.setDeferredStatus("succeeded");
    }

    refused(error) {
      this.setDeferredStatus("failed", parseError(error));
    }

    lost(channel) {
      this._client.trigger("lost", channel);
    }
  }

  class Scheduler {
    constructor(message, options) {
      Object.assign(this, { message, options, attempts: 0 });
    }

    getTimeout() { return this.options.timeout; }
    getInterval() { return this.options.interval; }
    isDeliverable() {
      const { attempts, deadline } = this.options;
      return !(this.attempts >= attempts) && !(world.now() > deadline);
    }
    send() { this.attempts += 1; }
    succeed() {}
    fail() {}
    abort() {}
  }

  class Client extends Deferrable {
    constructor(endpoint, options = {}) {
      super();
      check(options, FAYE_OPTIONS);
      this._events = new Map();
      this._bound = [];
      this._options = options;
      this._waiting = [];
      const session = (this._session = new Session(world, endpoint || "/bayeux", (up) => this._changed(up)));
      session.endpoints = { ...options.endpoints };
      session.advice.interval = 1000 * (options.interval || 0);
      session.advice.timeout = 1000 * (options.timeout || 60);
      if (options.retry) session.cap = 1000 * options.retry;
    }

    _changed(up) {
      this.trigger(up ? "transport:up" : "transport:down");
      if (!up) return;
      for (const [callback, context] of this._waiting.splice(0)) guard(callback, context);
      this.setDeferredStatus("succeeded");
      this.setDeferredStatus("unknown");
    }

    connect(callback, context) {
      const session = this._session;
      if (session.ended) return;
      if (callback && session.up) world.later(() => guard(callback, context), 0);
      else if (callback) this._waiting.push([callback, context]);
      session.start();
    }

    handshake(callback, context) {
      this.connect(callback, context);
    }

    disconnect() {
      const session = this._session;
      if (!session.clientId || session.ended) return undefined;
      const done = new Deferrable();
      const finish = (reply) => {
        session.stop();
        if (reply.successful) done.setDeferredStatus("succeeded");
        else done.setDeferredStatus("failed", parseError(reply.error));
      };
      session.channels.clear();
      session._cancel("cycle");
      if (!session.socket) {
        session.leave();
        finish({ successful: true });
      } else {
        session.ended = true;
        session._transmit([session._request({ channel: DISCONNECT, clientId: session.clientId }, finish)]);
      }
      return done;
    }

    subscribe(channel, callback, context) {
      if (Array.isArray(channel)) return channel.map((name) => this.subscribe(name, callback, context));
      const subscription = new Subscription(this, channel, callback, context);
      if (!this._session.ended) this._session.add(channel, subscription);
      return subscription;
    }

    unsubscribe(channel, subscription) {
      if (Array.isArray(channel)) return channel.map((name) => this.unsubscribe(name, subscription));
      return this._session.remove(channel, subscription);
    }

    publish(channel, data, options = {}) {
      check(options, ["attempts", "deadline"]);
      const publication = new Deferrable();
      const { advice, cap, ended } = this._session;
      if (ended) return publication;
      const message = { channel, data };
      const limits = { timeout: advice.timeout * 0.0012, interval: cap / 1000, attempts: options.attempts };
      if (options.deadline) limits.deadline = world.now() + options.deadline * 1000;
      const scheduler = new (this._options.scheduler || Scheduler)(message, limits);
      this._session.publish(message, scheduler, (reply) => {
        if (reply.successful) publication.setDeferredStatus("succeeded");
        else publication.setDeferredStatus("failed", parseError(reply.error));
      });
      return publication;
    }

    // Pages name Faye's five transports; ours are two.
    disable(feature) {
      this._session.disabled.add(feature);
    }

    setHeader(name, value) {
      this._session.headers[name] = value;
    }

    addWebsocketExtension() {}

    addExtension(extension) {
      this._session.extensions.push(extension);
      if (extension.added) extension.added(this);
    }

    removeExtension(extension) {
      const { extensions } = this._session;
      if (!extensions.includes(extension)) return;
      this._session.extensions = extensions.filter((other) => other !== extension);
      if (extension.removed) extension.removed(this);
    }

    on(type, listener) {
      if (typeof listener !== "function") throw new Error("addListener only takes instances of Function");
      this._events.set(type, [...this.listeners(type), listener]);
      return this;
    }

    once(type, listener) {
      const first = (...values) => {
        this.off(type, first);
        listener.apply(this, values);
      };
      return this.on(type, first);
    }

    off(type, listener) {
      const listeners = this.listeners(type).slice();
      const place = listeners.indexOf(listener);
      if (place >= 0) listeners.splice(place, 1);
      this._events.set(type, listeners);
      return this;
    }

    bind(type, listener, context) {
      const call = (...values) => listener.apply(context, values);
      this._bound.push({ type, listener, context, call });
      return this.on(type, call);
    }

    unbind(type, listener, context) {
      this._bound = this._bound.filter((bound) => {
        if (bound.type !== type || (listener && (bound.listener !== listener || bound.context !== context))) return true;
        this.off(type, bound.call);
        return false;
      });
    }

    trigger(type, ...values) {
      const listeners = this.listeners(type);
      for (const listener of listeners) guard(listener, this, ...values);
      return listeners.length > 0;
    }

    listeners(type) { return this._events.get(type) || []; }
    countListeners(type) { return this.listeners(type).length; }
    removeAllListeners(type) {
      if (type === undefined) this._events.clear();
      else this._events.delete(type);
      return this;
    }
  }

  const { prototype } = Client;
  prototype.emit = prototype.trigger;
  prototype.addListener = prototype.on;
  prototype.removeListener = prototype.off;
  Object.assign(prototype, { UNCONNECTED: 1, CONNECTING: 2, CONNECTED: 3, DISCONNECTED: 4 });

  const Faye = { VERSION: "1.4.3", Client, Scheduler, logger: null };
  for (const level of ["debug", "info", "warn", "error", "fatal"]) {
    prototype[level] = (text, ...values) => {
      const line = "[Faye.Client] " + text.replace(/\?/g, () => JSON.stringify(values.shift()));
      const { logger } = Faye;
      if (logger && logger[level]) logger[level](line);
      else if (typeof logger === "function") logger(line);
    };
  }
  return Faye;
}
