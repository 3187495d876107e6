/*
 * A world for the client: a clock that moves when told, dice that are loaded, and a small hub that
 * speaks Bayeux with positions over sockets and polls. Nothing here waits in real time.
 */
"use strict";

require("node:events").setMaxListeners(1000); // of one poll's aborter; its requests that ended keep theirs

const { Fanout } = require("../../static/fanout.js");
const both = require("../../static/faye.js").Fanout;

/** Lets promises that are due run. A poll's answer takes a handful of turns. */
const settle = async () => {
  for (let turn = 0; turn < 30; turn++) await null;
};

class Clock {
  constructor() {
    this.time = 1_000_000;
    this.timers = new Map();
    this.next = 1;
  }

  later(call, ms) {
    const timer = this.next++;
    this.timers.set(timer, { call, at: this.time + Math.max(0, ms) });
    return timer;
  }

  cancel(timer) {
    this.timers.delete(timer);
  }

  /** Move the clock on, running what falls due, in order. */
  async pass(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      let due = null;
      for (const [timer, { at }] of this.timers) if (at <= end && (!due || at < due.at)) due = { timer, at };
      if (!due) break;
      const { call } = this.timers.get(due.timer);
      this.timers.delete(due.timer);
      this.time = Math.max(this.time, due.at);
      call();
      await settle();
    }
    this.time = end;
  }
}

/** Something with addEventListener, and `fire` to make it happen. */
class Stage {
  constructor(facts = {}) {
    this.heard = new Map();
    Object.assign(this, facts);
  }

  addEventListener(type, call) {
    this.heard.set(type, [...(this.heard.get(type) || []), call]);
  }

  fire(type) {
    for (const call of this.heard.get(type) || []) call({ type });
  }
}

/** A hub with a log. Tests reach in: `publish`, `cut`, `sockets = "refuse"`, `forget`, ... */
class Hub {
  constructor(clock) {
    this.clock = clock;
    this.sockets = "accept"; // or "refuse", or "swallow"
    this.polls = "accept"; // or "refuse", or "swallow", or an HTTP status
    this.epoch = "e1";
    this.logs = new Map();
    this.sessions = new Map();
    this.open = new Set();
    this.requests = []; // every message that arrived, with the transport
    this.attempts = []; // every connection that was tried
    this.advice = { reconnect: "retry", interval: 0, timeout: 45000 };
    this.positions = true; // false: a Bayeux server that knows none
    this.heartbeats = false; // true: every connect's answer names the tops
    this.kept = Infinity; // publications that the history reaches back
    this.refused = new Map();
    this.accepts = () => true; // a handshake's token
    this.deaf = false;
    this.lag = 0; // milliseconds until an answer is on its way
    this.asked = 0; // empty batches, which ask whether anybody is there
    this.dead = new Set(); // connections that carry nothing any more, and don't say so
    this.made = 0;
  }

  get channels() {
    return this.requests.map((message) => message.channel);
  }

  seen(channel) {
    return this.requests.filter((message) => message.channel === channel);
  }

  top(channel) {
    return `${this.epoch}.${(this.logs.get(channel) || []).length}`;
  }

  /** Accept a publication and deliver it, unless `quietly`: then only the log has it. */
  publish(channel, data, quietly = false) {
    const log = this.logs.get(channel) || [];
    this.logs.set(channel, log);
    const message = { channel, data };
    log.push(message);
    if (this.positions) message.id = this.top(channel);
    if (quietly) return message.id;
    for (const session of this.sessions.values()) {
      const wanted = [...session.patterns].some((pattern) => matches(pattern, channel));
      if (wanted) this.deliver(session, [message]);
    }
    return message.id;
  }

  deliver(session, messages) {
    if (session.socket) {
      const { socket } = session;
      this.clock.later(() => socket.hear(messages), 0);
    } else {
      session.queue.push(...messages);
      if (session.hold) this.answer(session);
    }
  }

  /** The history is gone: restart with nothing, or a failover. */
  forget({ sessions = true } = {}) {
    this.epoch = "e" + (+this.epoch.slice(1) + 1);
    this.logs.clear();
    if (sessions) this.sessions.clear();
  }

  /** What is connected dies without a word, as when a NAT forgets it; new connections are well. */
  numb() {
    for (const socket of this.open) this.dead.add(socket);
    for (const { hold } of this.sessions.values()) if (hold) this.dead.add(hold.drop);
  }

  /** Every connection ends. */
  cut(code = 1006) {
    for (const socket of [...this.open]) socket.end(code);
    for (const session of this.sessions.values()) {
      session.socket = null;
      if (session.hold) session.hold.drop();
    }
  }

  down() {
    this.sockets = this.polls = "refuse";
    this.cut();
  }

  up() {
    this.sockets = this.polls = "accept";
  }

  answer(session, reply = {}) {
    const { hold } = session;
    session.hold = null;
    if (hold) hold.send([...session.queue.splice(0), { ...this.connected(session, hold.id), ...reply }]);
  }

  connected(session, id) {
    const reply = { channel: "/meta/connect", successful: true, id, clientId: session.id, advice: this.advice };
    if (session.tops) reply.ext = session.tops;
    else if (this.heartbeats) {
      reply.ext = { tops: {} };
      for (const name of session.patterns) if (this.logs.has(name)) reply.ext.tops[name] = this.top(name);
    }
    session.tops = null;
    return reply;
  }

  /** One batch. `send` answers it (a poll only once); `socket` is set for a WebSocket. */
  take(batch, send, drop, socket) {
    const replies = [];
    const after = [];
    let held = null;
    for (const message of batch) {
      this.requests.push({ ...message, over: socket ? "websocket" : "long-polling" });
      const { channel, id } = message;
      const session = this.sessions.get(message.clientId);
      const refuse = (error, more) => replies.push({ channel, id, successful: false, error, ...more });
      if (this.refused.has(channel)) {
        refuse(this.refused.get(channel));
      } else if (channel === "/meta/handshake" && !this.accepts((message.ext || {}).token)) {
        refuse("401::Token expired", { advice: { reconnect: "none" } });
      } else if (channel === "/meta/handshake") {
        const clientId = "client" + ++this.made;
        this.sessions.set(clientId, { id: clientId, patterns: new Set(), queue: [], hold: null, socket: null });
        replies.push({ channel, id, successful: true, clientId, version: "1.0", advice: this.advice,
          supportedConnectionTypes: ["websocket", "long-polling"] });
      } else if (!session) {
        refuse("402::Unknown client", channel === "/meta/connect" ? { advice: { ...this.advice, reconnect: "handshake" } } : {});
      } else if (channel === "/meta/connect") {
        session.hold = null;
        session.socket = socket;
        if (batch.length === 1 && !(message.advice && message.advice.timeout === 0)) {
          held = session;
          const hold = (session.hold = { id, send, drop });
          this.clock.later(() => { if (session.hold === hold) this.answer(session); }, this.advice.timeout);
        } else {
          after.push(() => replies.push(...(socket ? [] : session.queue.splice(0)), this.connected(session, id)));
        }
      } else if (channel === "/meta/subscribe") {
        const name = message.subscription;
        if (this.refused.has(name)) {
          refuse(this.refused.get(name), { subscription: name });
          continue;
        }
        session.patterns.add(name);
        const reply = { channel, id, successful: true, subscription: name, clientId: session.id };
        const asked = this.positions && message.ext && message.ext.position;
        if (asked) {
          reply.ext = { position: { [name]: this.top(name) }, recovered: {} };
          const since = asked[name];
          if (since) {
            const [epoch, offset] = since.split(".");
            const log = this.logs.get(name) || [];
            const well = epoch === this.epoch && +offset <= log.length && log.length - offset <= this.kept;
            reply.ext.recovered[name] = well;
            session.queue = session.queue.filter((queued) => queued.channel !== name);
            if (well) session.queue.push(...(this.logs.get(name) || []).slice(+offset));
          }
        }
        replies.push(reply);
      } else if (channel === "/meta/unsubscribe") {
        session.patterns.delete(message.subscription);
        replies.push({ channel, id, successful: true, subscription: message.subscription });
      } else if (channel === "/meta/disconnect") {
        this.sessions.delete(session.id);
        replies.push({ channel, id, successful: true });
      } else {
        replies.push({ channel, id, successful: true });
        after.push(() => this.publish(channel, message.data));
      }
    }
    for (const step of after) step();
    if (this.deaf) return;
    // As the hub does, and Faye's server.
    if (!batch.length && socket) {
      this.asked += 1;
      return void send([]);
    }
    if (replies.length) send(replies);
    if (held && !socket && held.queue.length) this.answer(held);
    for (const session of this.sessions.values()) {
      if (session.socket && session.queue.length) this.deliver(session, session.queue.splice(0));
    }
  }
}

function matches(pattern, channel) {
  if (pattern.endsWith("/**")) return channel.startsWith(pattern.slice(0, -2));
  if (pattern.endsWith("/*")) return channel.startsWith(pattern.slice(0, -1)) && !channel.slice(pattern.length - 1).includes("/");
  return pattern === channel;
}

/** A world with its own hub; `make()` gives a client in it, and Faye's of the file that has both. */
function makeWorld() {
  const clock = new Clock();
  const hub = new Hub(clock);
  const kept = new Map();
  const errors = [];

  class Socket {
    constructor(url) {
      this.url = url;
      this.readyState = 0;
      hub.attempts.push("websocket");
      clock.later(() => {
        if (this.readyState || hub.sockets === "swallow") return;
        if (hub.sockets === "refuse") return this.end(1006);
        this.readyState = 1;
        hub.open.add(this);
        this.onopen({});
      }, 5);
    }

    send(text) {
      if (this.readyState !== 1) return;
      const batch = JSON.parse(text);
      if (hub.dead.has(this)) return;
      clock.later(() => hub.take(batch, (replies) => clock.later(() => this.hear(replies), hub.lag), () => {}, this), 0);
    }

    hear(messages) {
      if (this.readyState === 1 && this.onmessage && !hub.dead.has(this)) this.onmessage({ data: JSON.stringify(messages) });
    }

    end(code) {
      hub.open.delete(this);
      this.readyState = 3;
      if (this.onclose) this.onclose({ code });
    }

    close() {
      if (this.readyState === 3) return;
      this.readyState = 3;
      clock.later(() => this.end(1000), 0);
    }
  }

  const fetch = (url, { body, signal }) => {
    hub.attempts.push("long-polling");
    return new Promise((resolve, reject) => {
      const drop = () => reject(new TypeError("network"));
      if (signal) {
        signal.addEventListener("abort", () => {
          for (const session of hub.sessions.values()) if (session.hold && session.hold.drop === drop) session.hold = null;
          drop();
        });
      }
      const answer = (status, text) => {
        if (!hub.dead.has(drop)) resolve({ status, ok: status === 200, text: async () => text });
      };
      clock.later(() => {
        if (hub.polls === "refuse") return drop();
        if (hub.polls === "swallow") return;
        if (typeof hub.polls === "number") return answer(hub.polls, "<h1>no</h1>");
        hub.take(JSON.parse(body), (replies) => clock.later(() => answer(200, JSON.stringify(replies)), hub.lag), drop, null);
      }, 5);
    });
  };

  const world = {
    now: () => clock.time,
    random: () => 0.5,
    later: (call, ms) => clock.later(call, ms),
    cancel: (timer) => clock.cancel(timer),
    fetch,
    WebSocket: Socket,
    report: (error) => errors.push(error),
    storage: {
      getItem: (key) => (kept.has(key) ? kept.get(key) : null),
      setItem: (key, text) => void kept.set(key, text),
      removeItem: (key) => void kept.delete(key),
    },
    page: new Stage({ location: new URL("http://site.test/event/17") }),
    document: new Stage({ hidden: false, querySelector: () => null }),
    url: "http://site.test/bayeux",
  };
  const show = (shown) => {
    world.document.hidden = !shown;
    world.document.fire("visibilitychange");
  };
  const make = () => ({
    ...Fanout.make(world),
    get Faye() { return both.make(world).Faye; },
  });
  return { world, hub, clock, kept, errors, show, make };
}

module.exports = { makeWorld, settle };
