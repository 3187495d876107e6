import { Exchange } from "./exchange.js";
import { expand, isBehind, isWild, parse } from "./positions.js";
import { REPLY, SUBSCRIBE, UNSUBSCRIBE } from "./words.js";

// Milliseconds. A publication may be on its way while the heartbeat that names its position overtakes it.
const TOPS = 1000;
const SOFT = 5000;
// The hub asks for a word that a publication has come, of one in so many. Not more often than this from one page.
const SEEN = "/service/seen";
const SEEN_EVERY = 30000;

/**
 * The channels that a session listens to, each with the position of the last publication it got.
 *
 * Listeners have take(data, channel), lost(channel), ready() and refused(error).
 */
export class Channels extends Exchange {
  constructor(world) {
    super(world);
    this.channels = new Map();
    this.every = this.quiet = 0;
  }

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

  // Channels without a position have no way to recover: they are told once they are back.
  _miss(all) {
    for (const channel of this.channels.values()) {
      if (channel.soft > this.world.now()) channel.at = null;
      if (!channel.at && (all || channel.known)) channel.missed = true;
    }
  }
}
