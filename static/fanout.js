/*
 * Fanout in the browser: hear at once that something changed, and ask the page's own URL what.
 *
 *   const watch = Fanout.subscribe("comments-17", refresh, { position: "k3f9a2b1.12" });
 *   watch.cancel();
 *
 * Nothing connects before the first subscribe. WebSocket first, long-polling when that fails, and
 * `refresh` called now and then when neither reaches the hub. The same file answers to
 * `new Faye.Client(url)`. fanout.d.ts says what each option means.
 */
(function (root) {
  "use strict";

  const HANDSHAKE = "/meta/handshake";
  const CONNECT = "/meta/connect";
  const SUBSCRIBE = "/meta/subscribe";
  const UNSUBSCRIBE = "/meta/unsubscribe";
  const DISCONNECT = "/meta/disconnect";
  const WEBSOCKET = "websocket";
  const POLLING = "long-polling";

  // Milliseconds. A socket that some proxy swallows must not keep the page waiting long; a reply that
  // takes longer than REPLY will not come.
  const OPEN = 5000;
  const REPLY = 10000;
  // A WebSocket that lives less than SHORT, CUTS times in a row, is being cut by something on the way.
  const SHORT = 30000;
  const CUTS = 3;
  // After a failure, WebSocket is tried again after BLAME, then after twice that, up to BLAME_MAX.
  const BLAME = 120000;
  const BLAME_MAX = 3600000;
  // A publication may be on its way while the heartbeat that names its position overtakes it.
  const TOPS = 1000;
  const SOFT = 5000;
  // Clients that were told "lost" together refetch within this time, not at once.
  const LOST = 1000;
  const SHOWN = 200;
  // A page that wakes asks over its connection, and opens another after ASK without an answer. What wakes many
  // pages at once (a network that is back) is spread; pages that nobody sees have more time. A poll that was
  // answered within OFTEN is left alone for as long, and so is a hub that was tried.
  const ASK = 2500;
  const SPREAD = 500;
  const SPREAD_HIDDEN = 2000;
  const OFTEN = 1000;
  // The hub asks for a word that a publication has come, of one in so many. Not more often than this from one page.
  const SEEN = "/service/seen";
  const SEEN_EVERY = 30000;
  // A timer that comes late by more than this was asleep. Browsers run those of hidden pages once a minute.
  const TICK = 10000;
  const TICK_HIDDEN = 90000;
  // The hub's words for a token that it does not take, or no longer.
  const BAD_TOKEN = /^401:.*token/i;

  // What the client needs of the world. Tests bring their own.
  const WORLD = {
    now: () => Date.now(),
    random: () => Math.random(),
    // A longer time would be taken for none at all.
    later: (call, ms) => setTimeout(call, Math.min(ms, 2 ** 31 - 1)),
    cancel: (timer) => clearTimeout(timer),
    fetch: (url, init) => root.fetch(url, init),
    // A page's error is the page's: thrown where its own error handlers see it, never through us.
    report: (error) => void setTimeout(() => { throw error; }),
    warn: (text) => { if (root.console) root.console.warn(text); },
    get WebSocket() { return root.WebSocket; },
    get document() { return root.document; },
    get page() { return root; },
    get storage() {
      try { return root.sessionStorage; } catch (refused) { return null; }
    },
  };

  const parse = (text) => {
    const found = typeof text === "string" && /^([a-z0-9]+)\.(\d+)$/i.exec(text);
    return found ? { epoch: found[1], offset: +found[2], text } : null;
  };
  const isBehind = (at, other) => at.epoch !== other.epoch || at.offset < other.offset;
  const isWild = (name) => /\/\*\*?$/.test(name);

  /** The patterns that match a channel's name: itself, one level, and every level above. */
  function expand(name) {
    const parts = name.split("/");
    const patterns = [name, [...parts.slice(0, -1), "*"].join("/")];
    for (let n = 1; n < parts.length; n++) patterns.push([...parts.slice(0, n), "**"].join("/"));
    return patterns;
  }

  /**
   * Long-polling that wears WebSocket's interface, so that a session has no branch for it.
   *
   * A lone connect is a request of its own, for the hub holds it. The rest takes turns, what waits going
   * together: two requests at once could arrive in the other order.
   */
  class Poll {
    constructor(world, url, headers, refused) {
      Object.assign(this, { world, url, headers, refused, waiting: [], busy: false, aborter: new AbortController() });
      this.readyState = 0;
      world.later(() => {
        if (this.readyState) return;
        this.readyState = 1;
        if (this.onopen) this.onopen({});
      }, 0);
    }

    send(text) {
      if (text.startsWith('[{"channel":"' + CONNECT)) this._post(text);
      else if (text.includes(DISCONNECT)) this._post(text, true);
      else {
        this.waiting.push(text.slice(1, -1));
        this._next();
      }
    }

    close(code = 1000) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.aborter.abort();
      if (this.onclose) this.onclose({ code });
    }

    async _next() {
      if (this.busy || !this.waiting.length) return;
      this.busy = true;
      await this._post("[" + this.waiting.splice(0).join() + "]");
      this.busy = false;
      this._next();
    }

    // A goodbye outlives the page, and is not aborted with the rest.
    async _post(text, keepalive = false) {
      const location = this.world.page.location;
      const foreign = location && new URL(this.url).origin !== location.origin && !Object.keys(this.headers).length;
      try {
        const response = await this.world.fetch(this.url, {
          method: "POST",
          cache: "no-store",
          keepalive,
          signal: keepalive ? undefined : this.aborter.signal,
          // A form in plain text needs no preflight; Faye's own client does the same across origins.
          headers: foreign ? {} : { "Content-Type": "application/json", ...this.headers },
          body: foreign ? "message=" + encodeURIComponent(text) : text,
        });
        const { status } = response;
        let data = await response.text();
        if (status === 400 || status === 413) {
          // Something on the way will never take these messages. To send them again would have no end.
          const refuse = ({ channel, id }) => ({ channel, id, successful: false, error: status + "::Refused" });
          data = JSON.stringify(JSON.parse(text).map(refuse));
        } else if (status !== 200) {
          // A page of another origin may read this answer: it is the only place that says why.
          this.refused(status, data);
          throw status;
        }
        if (this.readyState === 1 && this.onmessage) this.onmessage({ data });
      } catch (failed) {
        if (this.readyState < 3 && typeof failed !== "number") this.refused(0, "");
        this.close(1006);
      }
    }
  }

  /**
   * A Bayeux session over whichever transport works, and the channels it listens to.
   *
   * Every connection begins with one batch: a subscribe for each channel, with the position of the last
   * publication it got, and a connect that is answered at once. In that order, so that what was missed
   * comes before what is new. Whatever goes wrong ends in `fail`, and so in such a beginning.
   *
   * Listeners have take(data, channel), lost(channel), ready() and refused(error).
   */
  class Session {
    constructor(world, url, changed) {
      Object.assign(this, { world, url, changed });
      this.channels = new Map();
      this.pending = new Map();
      this.timers = {};
      this.headers = {};
      this.endpoints = {};
      this.disabled = new Set();
      this.extensions = [];
      this.advice = { reconnect: "retry", interval: 0, timeout: 60000 };
      this.cap = 30000;
      this.count = this.tries = this.cuts = this.renewals = this.since = this.began = this.due = this.heard = 0;
      this.every = this.quiet = 0;
      this.reachable = this.up = this.greeted = this.ended = this.turn = this.away = false;
      this.socket = this.kind = this.clientId = null;
      this.reason = "";
      const [until, wait] = (this._store() || "0 0").split(" ");
      this.blamed = +until || 0;
      this.blame = +wait || 0;
      this._listen();
    }

    // Channels

    add(name, listener, position) {
      let channel = this.channels.get(name);
      const isNew = !channel;
      if (isNew) this.channels.set(name, (channel = { name, listeners: new Set(), at: null, soft: 0 }));
      channel.listeners.add(listener);
      if (position !== undefined) {
        const from = parse(position);
        const { at } = channel;
        const asks = from && !channel.known && !channel.sent;
        if (asks && (!at || (at.epoch === from.epoch && isBehind(from, at)))) channel.at = from;
        if (from && (asks ? channel.at.epoch === from.epoch : at && !isBehind(from, at))) listener.from = from;
        // An unknown position, or one that this channel has left behind: only a refetch is sure.
        else if (channel.known) listener.lost(name);
        else listener.stale = true;
      }
      if (channel.known) listener.ready();
      if (isNew && this.greeted) this._transmit([this._ask(channel)]);
      this.start();
    }

    remove(name, listener) {
      const channel = this.channels.get(name);
      if (!channel || (listener && !channel.listeners.delete(listener))) return;
      if (listener && channel.listeners.size) return;
      this.channels.delete(name);
      if (this.greeted) {
        this._transmit([this._request({ channel: UNSUBSCRIBE, clientId: this.clientId, subscription: name })]);
      }
    }

    _ask(channel) {
      const { name, missed } = channel;
      // What came live since the hub said "lost" is no place to recover from: the hole is before it.
      const at = missed ? null : channel.at;
      channel.sent = true;
      const message = { channel: SUBSCRIBE, clientId: this.clientId, subscription: name };
      if (!isWild(name)) message.ext = { position: { [name]: at && at.text } };
      return this._request(message, (reply) => this._subscribed(channel, at, reply));
    }

    _subscribed(channel, since, reply) {
      const { name, listeners } = channel;
      if (this.channels.get(name) !== channel) return;
      if (!reply.successful) {
        if (/^(400|402|408|413|429|5\d\d):|unknown client/i.test(reply.error)) {
          channel.sent = false;
          this._wait("ask", REPLY * this.world.random(), () => this._askAll());
        } else {
          this.channels.delete(name);
          for (const listener of listeners) listener.refused(reply.error);
        }
        return;
      }
      const { position = {}, recovered = {} } = reply.ext || {};
      const top = parse(position[name]);
      const lost = since ? recovered[name] !== true : channel.missed;
      channel.known = true;
      channel.missed = false;
      // After a recovery the publications themselves move `at`; moving it now would make them repeats.
      if (top && (lost || !since)) {
        const { at } = channel;
        if (!at || (at.epoch === top.epoch ? isBehind(at, top) : lost)) channel.at = top;
        // What was published while the hub looked the position up is below it, and still to come.
        channel.soft = since ? 0 : this.world.now() + SOFT;
      }
      for (const listener of [...listeners]) {
        listener.ready();
        const { from, stale } = listener;
        listener.stale = false;
        if (lost || stale || (from && top && from.epoch !== top.epoch)) {
          listener.from = null;
          listener.lost(name);
        }
      }
    }

    _deliver({ channel: name, data, id }) {
      const at = parse(id);
      const own = this.channels.get(name);
      if (own && at) {
        const before = own.at;
        const same = before && before.epoch === at.epoch;
        const repeat = same && at.offset <= before.offset;
        if (repeat && own.soft <= this.world.now()) return;
        if (own.got && !isBehind(own.got, at)) return;
        own.got = at;
        if (!repeat) {
          own.at = at;
          own.soft = 0;
        }
        // A hole is a slow reader's conflated hints, or a fault of the hub: whoever counts on each must know.
        if (before && (!same || at.offset > before.offset + 1)) {
          for (const listener of own.listeners) listener.lost(name, same);
        }
      }
      for (const pattern of expand(name)) {
        const channel = this.channels.get(pattern);
        for (const listener of channel ? [...channel.listeners] : []) {
          const { from } = listener;
          if (!from || !at || isBehind(from, at)) listener.take(data, name);
        }
      }
      if (at && this.every) this._see(name, id);
    }

    // How late publications are in browsers, the hub learns of a few of them. Once the page has it: listeners came first.
    _see(name, id) {
      const now = this.world.now();
      if (!this.greeted || now < this.quiet || this.world.random() * this.every >= 1) return;
      this.quiet = now + SEEN_EVERY;
      this._transmit([this._request({ channel: SEEN, clientId: this.clientId, data: [name, id] })]);
    }

    // Heartbeats name the newest positions, which is how a lost last publication is noticed, and channels
    // that the hub itself lost something of. For those the position is asked anew, and the loss told with it.
    _heartbeat({ tops = {}, lost = [] }) {
      const { socket, world } = this;
      const forget = (channel) => Object.assign(channel, { at: null, missed: true, sent: false });
      for (const name of lost) {
        for (const pattern of expand(name)) if (this.channels.has(pattern)) forget(this.channels.get(pattern));
      }
      const names = Object.keys(tops);
      if (!names.length && !lost.length) return;
      world.later(() => {
        if (!this.greeted || socket !== this.socket) return;
        let behind = false;
        for (const name of names) {
          const channel = this.channels.get(name);
          const top = parse(tops[name]);
          if (!channel || !channel.known || !channel.sent || !top) continue;
          if (!channel.at) forget(channel);
          else if (isBehind(channel.at, top) && channel.tried !== top.text) {
            channel.tried = top.text;
            behind = true;
          }
        }
        if (behind) this._restart();
        else this._askAll();
      }, TOPS);
    }

    _askAll() {
      const unsent = [...this.channels.values()].filter((channel) => !channel.sent);
      if (this.greeted && unsent.length) this._transmit(unsent.map((channel) => this._ask(channel)));
    }

    // Connections

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

    /**
     * The page was hidden, offline or asleep: its connection may have died without a word. Ask now, or try now
     * what waits for its turn. However many call, one question is under way. `spread`: up to so many ms later.
     */
    wake(spread = 0) {
      const { world, timers } = this;
      const { navigator } = world.page;
      if (this.ended || this.away || (navigator && navigator.onLine === false)) return;
      const now = world.now();
      const wait = spread * world.random();
      if (timers.open) {
        // Somebody who looks at a page without a connection waits no longer than for the last attempt.
        const ms = Math.max(this._hidden() ? wait : 0, this.began + OFTEN - now);
        if (ms <= 0) this._open();
        else if (now + ms < this.due) this._openIn(ms);
      } else if (!this.up) {
        // What was under way when the page fell asleep has had its time.
        if (this.socket && now - this.began > REPLY) this._replace();
      } else if (!timers.wake && !timers.asked) {
        this._wait("wake", this.kind === POLLING ? Math.max(wait, this.heard + OFTEN - now) : wait, () => this._check());
      }
    }

    // The hub answers an empty batch with one. A held poll says nothing of itself: it makes room for another.
    _check() {
      const { kind } = this;
      if (kind === POLLING) this._replace(kind);
      else this.socket.send("[]");
      this._wait("asked", ASK, () => this._replace(kind === POLLING ? kind : undefined));
    }

    _replace(kind) {
      this._drop();
      this._miss(true);
      this._open(kind);
    }

    _tick() {
      const { world } = this;
      const due = world.now() + TICK;
      this._wait("tick", TICK, () => {
        this._tick();
        if (world.now() - due > (this._hidden() ? TICK_HIDDEN : TICK)) this.wake(this._spread());
      });
    }

    _hidden() {
      return Boolean(this.world.document && this.world.document.hidden);
    }

    _spread() {
      return this._hidden() ? SPREAD_HIDDEN : SPREAD;
    }

    // Channels without a position have no way to recover: they are told once they are back.
    _miss(all) {
      for (const channel of this.channels.values()) {
        if (channel.soft > this.world.now()) channel.at = null;
        if (!channel.at && (all || channel.known)) channel.missed = true;
      }
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

    // Messages

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

    // The world

    _listen() {
      const { page, document } = this.world;
      if (!page.addEventListener) return;
      page.addEventListener("online", () => this.wake(this._spread()));
      page.addEventListener("offline", () => { if (this.socket) this.fail(); });
      page.addEventListener("pagehide", () => {
        if (this.disabled.has("autodisconnect")) return;
        this.away = true;
        this.leave();
      });
      page.addEventListener("pageshow", () => {
        if (!this.away) return this.wake();
        this.away = false;
        if (this.channels.size || this.pending.size) this.start();
      });
      if (!document) return;
      document.addEventListener("visibilitychange", () => { if (!document.hidden) this.wake(); });
      document.addEventListener("resume", () => this.wake(this._spread()));
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

  function makeFanout(world) {
    const watches = new Set();
    const isHidden = () => Boolean(world.document && world.document.hidden);
    let config = {};
    let session = null;
    let asking = null;

    /** One callback on one channel, with its throttle, its slow poll and its patience while hidden. */
    class Watch {
      constructor(channel, callback, options) {
        const defaults = { poll: 10, calmPoll: 300, throttle: 500, raw: false, lost: null };
        Object.assign(this, { channel, callback, options: { ...defaults, ...options } });
        this.timers = {};
        this.due = this.next = null;
        this.last = world.now();
      }

      get position() {
        const { at } = session.channels.get(this.channel) || {};
        return at ? at.text : null;
      }

      cancel() {
        if (!watches.delete(this)) return;
        for (const name in this.timers) world.cancel(this.timers[name]);
        session.remove(this.channel, this);
        if (!watches.size) session.leave();
      }

      take(data) {
        if (this.options.raw) return this.run(this.callback, data);
        if (!session.batch) return this.act(this.callback, data);
        this.newest = data;
        session.batch.add(this);
      }

      flush() {
        if (watches.has(this)) this.act(this.callback, this.newest);
      }

      // The page must refetch: by what it named for that, or as after any hint.
      refresh() {
        this.act(this.options.lost || this.callback);
      }

      // Of a hole the last message told all that a throttled callback would have been told.
      lost(name, hole) {
        if (!(hole && !this.options.raw) && !this.timers.lost) this.wait("lost", LOST * world.random(), () => this.refresh());
      }

      ready() {}

      refused(error) {
        world.report(new Error("Fanout: " + this.channel + " refused: " + error));
      }

      // The first at once, then one more when `throttle` has passed if others came: the last one matters most.
      // A refetch covers every hint before it, so it is never replaced by one.
      act(call, data) {
        const lost = this.options.lost;
        const place = isHidden() ? "due" : "next";
        if (!this[place] || !lost || this[place][0] !== lost) this[place] = [call, data];
        // At once is when all that came together was looked at: a recovery may bring many.
        if (place === "next" && !this.timers.throttle) Promise.resolve().then(() => this.again());
      }

      again() {
        if (!this.next || this.timers.throttle || !watches.has(this)) return;
        const [call, data] = this.next;
        this.next = null;
        if (isHidden()) return this.act(call, data);
        this.wait("throttle", this.options.throttle, () => this.again());
        this.last = world.now();
        this.schedule();
        this.run(call, data);
      }

      show() {
        const [call, data] = this.due;
        this.due = null;
        this.act(call, data);
      }

      run(call, data) {
        const failed = (error) => {
          world.report(error);
          // What could not be fetched now is fetched a little later, hub or no hub.
          if (watches.has(this)) this.schedule(false);
        };
        try {
          const result = call(data);
          if (result && typeof result.then === "function") result.then(null, failed);
        } catch (error) {
          failed(error);
        }
      }

      // Counted from the last call while the hub is well, so that one that comes and goes can't put it off
      // for ever; from now when it is not, so that a short outage is no reason for everyone to fetch.
      schedule(well = session.reachable) {
        world.cancel(this.timers.poll);
        const seconds = well ? this.options.calmPoll : this.options.poll;
        const passed = well ? world.now() - this.last : 0;
        if (seconds) this.wait("poll", seconds * (900 + 200 * world.random()) - passed, () => this.refresh());
      }

      wait(name, ms, call) {
        this.timers[name] = world.later(() => {
          delete this.timers[name];
          call();
        }, ms);
      }
    }

    if (world.document) {
      world.document.addEventListener("visibilitychange", () => {
        if (isHidden()) return;
        for (const watch of watches) {
          if (watch.due && !watch.timers.shown) watch.wait("shown", SHOWN * world.random(), () => watch.show());
        }
      });
    }

    function connection() {
      if (session) return session;
      const old = world.document && world.document.querySelector("fanout-config[data-client-url]");
      const url = config.url || (old && old.getAttribute("data-client-url")) || world.url || "/bayeux";
      session = new Session(world, url, () => watches.forEach((watch) => watch.schedule()));
      session.extensions.push({ outgoing: showToken });
      return session;
    }

    // What the page shows of itself: asked for once for all that goes out at the same moment, null without one.
    function askToken() {
      const { token } = config;
      if (typeof token !== "function") return Promise.resolve(token || null);
      if (!asking) {
        asking = new Promise((resolve, reject) => {
          const timer = world.later(() => reject(new Error("Fanout: no token after 10 s")), REPLY);
          Promise.resolve().then(token).finally(() => world.cancel(timer)).then(resolve, reject);
        });
        const done = () => { asking = null; };
        asking.then(done, done);
      }
      return asking;
    }

    function showToken(message, pass) {
      if (!config.token || (message.channel !== HANDSHAKE && message.channel !== SUBSCRIBE)) return pass(message);
      const show = (token) => pass(token ? { ...message, ext: { ...message.ext, token } } : message);
      if (typeof config.token !== "function") return show(config.token);
      const { socket } = session;
      // Without its token the hub would refuse for good what the page may hear once it has it again.
      askToken().then(show, (error) => {
        if (socket !== session.socket) return;
        world.report(error);
        session.fail();
      });
    }

    return {
      configure(options) {
        for (const name of Object.keys(options)) {
          if (name !== "url" && name !== "token") throw new Error("Unrecognized option: " + name);
        }
        const { url } = options;
        if (session && url !== undefined && url !== session.url) throw new Error("Fanout: name the hub before the first subscribe");
        config = { ...config, ...options };
      },

      subscribe(channel, callback, options = {}) {
        if (typeof channel !== "string" || !channel) throw new TypeError("Fanout: a channel is a non-empty string");
        if (typeof callback !== "function") throw new TypeError("Fanout: the callback is not a function");
        const name = channel[0] === "/" ? channel : "/" + channel;
        const watch = new Watch(name, callback, options);
        watches.add(watch);
        connection().add(name, watch, options.position);
        watch.schedule();
        return watch;
      },

      presence(channel, callback) {
        const name = channel.replace(/^\//, "");
        const url = connection().url.replace(/[^/]*\/?$/, "presence?channel=" + encodeURIComponent(channel));
        let here = new Set();
        let early = null; // What comes while the state is on its way.
        let ended = false;
        let watch = null;
        const apply = ({ joined, left }) => {
          joined.forEach((user) => here.add(user));
          left.forEach((user) => here.delete(user));
        };
        const take = (data) => {
          if (early) return void early.push({ at: parse(watch.position), data });
          apply(data);
          return callback({ users: [...here], count: data.count });
        };
        const load = async () => {
          early = early || [];
          const token = await askToken();
          const answer = await world.fetch(url + (token ? "&token=" + encodeURIComponent(token) : ""), { cache: "no-store" });
          if (!answer.ok) throw new Error(`Fanout: presence of ${name}: ${answer.status}`);
          const state = await answer.json();
          const later = early.filter(({ at }) => !at || isBehind(parse(state.position), at)).map(({ data }) => data);
          here = new Set(state.users.map(({ user }) => user));
          early = null;
          later.forEach(apply);
          if (ended) return;
          if (!watch) watch = this.subscribe("presence/" + name, take, { position: state.position, raw: true, lost: load });
          await callback({ users: [...here], count: [state, ...later].pop().count });
        };
        const begin = () => void load().catch((error) => {
          world.report(error);
          if (!ended && !watch) world.later(begin, 9000 + 2000 * world.random());
        });
        begin();
        return { cancel: () => { ended = true; if (watch) watch.cancel(); } };
      },

      get status() {
        if (!session || !watches.size) return "idle";
        return session.up && !session.timers.asked ? session.kind : session.told && !session.reachable ? "unreachable" : "connecting";
      },

      get reason() {
        return session && watches.size ? session.reason : "";
      },
    };
  }

  // Faye's client, as far as pages use it; bayeux.md §2.3 of the Faye sources is what it answers to.
  function makeFaye(world) {
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

  /** A client of its own in a world of its own: for tests, and for pages of two hubs. */
  function make(given) {
    const world = Object.create(WORLD, Object.getOwnPropertyDescriptors(given));
    return { Fanout: Object.assign(makeFanout(world), { make }), Faye: makeFaye(world) };
  }

  const script = root.document && root.document.currentScript;
  const url = script && script.src ? new URL(script.getAttribute("data-url") || "/bayeux", script.src).href : undefined;
  const made = make({ url });
  if (typeof module === "object" && module.exports) module.exports = made;
  else Object.assign(root, made);
})(globalThis);
