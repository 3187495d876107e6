import { Channels } from "./channels.js";
import { Poll } from "./poll.js";
import { BAD_TOKEN, CONNECT, DISCONNECT, HANDSHAKE, POLLING, REPLY, WEBSOCKET } from "./words.js";

// Milliseconds. A socket that some proxy swallows must not keep the page waiting long.
const OPEN = 5000;
// A WebSocket that lives less than SHORT, CUTS times in a row, is being cut by something on the way.
const SHORT = 30000;
const CUTS = 3;
// After a failure, WebSocket is tried again after BLAME, then after twice that, up to BLAME_MAX.
const BLAME = 120000;
const BLAME_MAX = 3600000;

/**
 * The connection of a session: whichever transport works, and another when it fails.
 *
 * Every connection begins with one batch: a subscribe for each channel, with the position of the last
 * publication it got, and a connect that is answered at once. In that order, so that what was missed
 * comes before what is new. Whatever goes wrong ends in `fail`, and so in such a beginning.
 */
export class Connection extends Channels {
  constructor(world, url, changed) {
    super(world);
    Object.assign(this, { url, changed });
    this.headers = {};
    this.endpoints = {};
    this.disabled = new Set();
    this.cap = 30000;
    this.tries = this.cuts = this.renewals = this.since = this.began = this.due = 0;
    this.reachable = this.turn = this.away = false;
    this.kind = null;
    this.reason = "";
    const [until, wait] = (this._store() || "0 0").split(" ");
    this.blamed = +until || 0;
    this.blame = +wait || 0;
  }

  start() {
    if (this.socket || this.timers.open || this.ended || this.away) return;
    this._open();
  }

  _types() {
    const types = [];
    if (this.world.WebSocket && !this.disabled.has(WEBSOCKET)) types.push(WEBSOCKET);
    if (!this.disabled.has(POLLING)) types.push(POLLING);
    return types;
  }

  _choose() {
    const [kind, other] = this._types();
    return other && (this.turn || this.world.now() < this.blamed) ? other : kind;
  }

  _open(kind = this._choose()) {
    this._cancel("open");
    this.began = this.world.now();
    const socket = kind && this._make(kind);
    this._use(socket, kind);
    if (socket) this._wait("overdue", OPEN, () => this.fail());
    else this.fail();
  }

  _make(kind) {
    const { location } = this.world.page;
    const url = new URL(this.endpoints[kind] || this.url, location && location.href).href;
    if (kind === POLLING) return new Poll(this.world, url, this.headers, (status, text) => this._explain(url, status, text));
    try {
      return new this.world.WebSocket(url.replace(/^http/, "ws"));
    } catch (refused) {
      return null;
    }
  }

  _use(socket, kind) {
    Object.assign(this, { socket, kind, since: 0 });
    if (!socket) return;
    socket.onopen = () => {
      this._cancel("overdue");
      this._greet();
    };
    socket.onmessage = (event) => this._receive(event.data);
    socket.onclose = (event) => this.fail(event.code);
  }

  _drop() {
    const { socket } = this;
    this.socket = null;
    this.up = this.greeted = false;
    for (const name in this.timers) this._cancel(name);
    for (const [id, entry] of this.pending) {
      this.world.cancel(entry.timer);
      entry.sent = false;
      if (!entry.scheduler) this.pending.delete(id);
    }
    for (const channel of this.channels.values()) channel.sent = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** The connection is of no use any more: try the other transport now, or again after a while. */
  fail(code) {
    const { world, kind, since } = this;
    const lived = since && world.now() - since;
    const inFlight = [...this.pending.values()].filter((entry) => entry.scheduler && entry.sent);
    this._drop();
    this.turn = false;
    if (kind === WEBSOCKET && this._types().length > 1) {
      if (since) this.cuts = lived < SHORT ? this.cuts + 1 : 0;
      this.turn = !since || this.cuts >= CUTS;
    } else if (!since) this.blamed = 0;
    if (lived >= REPLY) this.tries = 0;
    for (const entry of inFlight) {
      entry.scheduler.fail();
      // Too big for the hub: to send it again would close every new connection too.
      if (code === 1009) this._answer(entry, { successful: false, error: "413::Message too large" });
    }
    this._miss(!this.turn);
    if (!this.turn || this.reachable) this._change(false);
    if (this.ended) return;
    const most = Math.min(this.cap, 1000 * 2 ** this.tries);
    if (!this.turn) this.tries = Math.min(this.tries + 1, 20);
    this._openIn(this.turn ? 0 : this._interval() + world.random() * most);
  }

  _openIn(ms) {
    this.due = this.world.now() + ms;
    this._wait("open", ms, () => this._open());
  }

  /** Say once why nothing gets through: a browser tells a page nothing of it, and the console little. */
  _explain(url, status, text) {
    const { location } = this.world.page;
    const from = location ? " from " + location.origin : "";
    let reason = `no hub answers at ${url}${from}` + (status ? `: status ${status}` : "");
    if (status === 403 && /^Origin /.test(text)) reason = `the hub at ${url} refuses pages${from}. ${text.trim()}`;
    if (reason !== this.reason && !this.reachable) this.world.warn("Fanout: " + reason);
    this.reason = reason;
  }

  _restart() {
    this._drop();
    this._open();
  }
  _greet() {
    if (this.clientId) return this._hello();
    const message = { channel: HANDSHAKE, version: "1.0", supportedConnectionTypes: this._types() };
    this._transmit([this._request(message, (reply) => {
      if (!reply.successful) {
        if (BAD_TOKEN.test(reply.error)) this.world.report(new Error("Fanout: handshake refused: " + reply.error));
        return this.fail();
      }
      this.clientId = reply.clientId;
      this.every = +(reply.ext || {}).seen || 0;
      this._hello();
    })]);
  }

  _hello() {
    this.greeted = true;
    const asks = [...this.channels.values()].map((channel) => this._ask(channel));
    this._transmit([...asks, this._connect({ timeout: 0 })]);
  }

  _connect(advice) {
    const message = { channel: CONNECT, clientId: this.clientId, connectionType: this.kind };
    if (advice) message.advice = advice;
    return this._request(message, (reply) => {
      if (reply.successful) {
        if (!advice) this.renewals = 0;
        this._live();
        this._heartbeat(reply.ext || {});
        this._cycle();
      } else if (!reply.advice) this.fail();
      else if (reply.advice.reconnect === "retry") this._cycle();
    });
  }

  _live() {
    if (this.up) return;
    this.up = true;
    this.reason = "";
    this.since = this.since || this.world.now();
    if (this.kind === WEBSOCKET) this._store("");
    else if (this.turn) this._blame();
    this.turn = false;
    this._tick();
    this._change(true);
    this._flush();
  }

  _cycle() {
    this._wait("cycle", this._interval(), () => {
      if (this.kind === POLLING && this._types().length > 1 && this.world.now() >= this.blamed) this._probe();
      this._transmit([this._connect()], Math.max(1.2 * +this.advice.timeout || 0, REPLY));
    });
  }

  /** Try WebSocket beside a long-poll that works, and change over if it opens. */
  _probe() {
    const socket = this._make(WEBSOCKET);
    this.blamed = Infinity;
    if (!socket) return;
    const timer = this.world.later(() => socket.close(), OPEN);
    socket.onopen = () => {
      this.world.cancel(timer);
      socket.onclose = null;
      this.blamed = this.cuts = 0;
      if (!this.up || this.kind !== POLLING) return socket.close();
      this._drop();
      this._use(socket, WEBSOCKET);
      this._greet();
    };
    socket.onclose = () => {
      this.world.cancel(timer);
      this._blame();
    };
  }

  _blame() {
    this.cuts = 0;
    this.blame = Math.min(this.blame * 2 || BLAME, BLAME_MAX);
    this.blamed = this.world.now() + this.blame;
    this._store(this.blamed + " " + this.blame);
  }

  // "Handshake": the hub doesn't know us (any more).
  _renew() {
    const wait = this.renewals++ ? this.world.random() * Math.min(this.cap, 500 * 2 ** this.renewals) : 0;
    const { socket, kind, since } = this;
    this.socket = this.clientId = null;
    this._drop();
    this._miss(true);
    this._use(socket, kind);
    this.since = since;
    this._wait("cycle", this._interval() + wait, () => this._greet());
  }

  /** Say goodbye; the session can be started again. */
  leave() {
    const { socket, clientId } = this;
    if (socket && clientId) socket.send(JSON.stringify([{ channel: DISCONNECT, clientId }]));
    this.clientId = null;
    this.reachable = this.told = false;
    this._drop();
    this._miss(true);
  }

  stop() {
    this.ended = true;
    this._drop();
    this._change(false);
  }

  _change(reachable) {
    if (this.reachable === reachable && this.told) return;
    this.reachable = reachable;
    this.told = true;
    this.changed(reachable);
  }

  // Read, or write ("" forgets). Pages without storage just try WebSocket on every page.
  _store(text) {
    const key = "fanout:" + this.url;
    try {
      const { storage } = this.world;
      return text === undefined ? storage.getItem(key) : text ? storage.setItem(key, text) : storage.removeItem(key);
    } catch (refused) {
      return null;
    }
  }
}
