import { BAD_TOKEN, REPLY } from "./words.js";

/**
 * Messages out, and the replies to them in, over the socket there is.
 *
 * The first of a session's four parts, each on top of the one before: Exchange, Channels, Connection, Session.
 * What this one does not know, the others have: `start`, `stop`, `fail`, `_renew` and `_deliver`.
 */
export class Exchange {
  constructor(world) {
    this.world = world;
    this.pending = new Map();
    this.timers = {};
    this.extensions = [];
    this.advice = { reconnect: "retry", interval: 0, timeout: 60000 };
    this.count = this.heard = 0;
    this.up = this.greeted = this.ended = false;
    this.socket = this.clientId = null;
  }

  publish(message, scheduler, done) {
    // What JSON can't say is the caller's error, and must not meet the other messages.
    JSON.stringify(message);
    this._request(message, (reply, entry) => {
      if (!reply.successful && /^402:|unknown client/i.test(reply.error) && entry.refusedAs !== this.clientId) {
        entry.refusedAs = this.clientId;
        entry.message.clientId = null;
        this.pending.set(message.id, entry);
        return;
      }
      scheduler.succeed();
      done(reply);
    }).scheduler = scheduler;
    this.start();
    this._flush();
  }

  // After a new handshake what waits goes out under its old clientId, so that the hub knows a repeat.
  _flush() {
    if (!this.up) return;
    const due = [];
    for (const [id, entry] of this.pending) {
      const { scheduler, message } = entry;
      if (!scheduler || entry.sent || entry.refusedAs === this.clientId) continue;
      if (scheduler.isDeliverable()) {
        message.clientId = message.clientId || this.clientId;
        scheduler.send();
        due.push(entry);
      } else {
        scheduler.abort();
        this.pending.delete(id);
      }
    }
    if (due.length) this._transmit(due);
  }

  _request(message, done = () => {}) {
    message.id = (++this.count).toString(36);
    const entry = { message, done, scheduler: null };
    this.pending.set(message.id, entry);
    return entry;
  }

  _transmit(entries, limit = REPLY) {
    const { socket, world } = this;
    const batch = [];
    let left = entries.length;
    const send = () => {
      if (--left || socket !== this.socket) return;
      const messages = batch.filter(Boolean);
      if (messages.length) socket.send(JSON.stringify(messages));
      // From now, for an extension may take its time.
      entries.forEach((entry, place) => { if (batch[place]) entry.timer = world.later(() => this.fail(), limit); });
    };
    entries.forEach((entry, place) => {
      entry.sent = true;
      this._pipe("outgoing", { ...entry.message }, (message) => {
        batch[place] = message;
        send();
      });
    });
  }

  _receive(text) {
    this.heard = this.world.now();
    this._cancel("asked");
    let messages;
    try {
      messages = [].concat(JSON.parse(text));
    } catch (garbage) {
      // A login page of some hotel, say.
      return this.fail();
    }
    // What comes together is one reason to act: after a tunnel thirty hints come in one batch.
    const batch = (this.batch = new Set());
    for (const message of messages) {
      if (message && typeof message === "object") this._pipe("incoming", message, (kept) => kept && this._handle(kept));
    }
    this.batch = null;
    for (const watch of batch) watch.flush();
  }

  _handle(message) {
    const { channel, id, successful, advice } = message;
    const entry = successful === undefined ? undefined : this.pending.get(id);
    // Only the hub's own words are obeyed: a publisher could have put advice into a publication.
    const named = typeof channel === "string";
    const meta = named && channel.startsWith("/meta/");
    if (named && !meta && message.data !== undefined) this._deliver(message);
    if (meta && advice) Object.assign(this.advice, advice);
    const reconnect = meta && advice && !this.ended && advice.reconnect;
    // Too many clients, a fault of the hub, or a token of yesterday is no reason to stay away for ever.
    if (reconnect === "none" && !/^(429|5\d\d):/.test(message.error) && !BAD_TOKEN.test(message.error)) return this.stop();
    if (entry) this._answer(entry, message);
    if (reconnect === "handshake" && this.socket && this.clientId) this._renew();
  }

  _answer(entry, reply) {
    this.pending.delete(entry.message.id);
    this.world.cancel(entry.timer);
    entry.sent = false;
    entry.done(reply, entry);
  }

  _pipe(stage, message, done) {
    const extensions = this.extensions.slice();
    const next = (passed) => {
      const extension = passed && extensions.shift();
      if (!extension) return done(passed);
      if (!extension[stage]) return next(passed);
      try {
        if (extension[stage].length > 2) extension[stage](passed, null, next);
        else extension[stage](passed, next);
      } catch (error) {
        this.world.report(error);
      }
    };
    next(message);
  }

  _interval() {
    return Math.max(0, +this.advice.interval || 0);
  }

  _wait(name, ms, call) {
    this._cancel(name);
    this.timers[name] = this.world.later(() => {
      delete this.timers[name];
      call();
    }, ms);
  }

  _cancel(name) {
    this.world.cancel(this.timers[name]);
    delete this.timers[name];
  }
}
