import { isHidden } from "./world.js";

// Milliseconds. Clients that were told "lost" together refetch within this time, not at once.
const LOST = 1000;

/** One callback on one channel, with its throttle, its slow poll and its patience while hidden. It is one of `watches`. */
export class Watch {
  constructor(session, watches, channel, callback, options) {
    const defaults = { poll: 10, calmPoll: 300, throttle: 500, raw: false, lost: null };
    Object.assign(this, { _session: session, _watches: watches, channel, callback, options: { ...defaults, ...options } });
    this.timers = {};
    this.due = this.next = null;
    this.last = session.world.now();
  }

  get position() {
    const { at } = this._session.channels.get(this.channel) || {};
    return at ? at.text : null;
  }

  cancel() {
    const { _session: session, _watches: watches } = this;
    if (!watches.delete(this)) return;
    for (const name in this.timers) session.world.cancel(this.timers[name]);
    session.remove(this.channel, this);
    if (!watches.size) session.leave();
  }

  take(data) {
    if (this.options.raw) return this.run(this.callback, data);
    const { batch } = this._session;
    if (!batch) return this.act(this.callback, data);
    this.newest = data;
    batch.add(this);
  }

  flush() {
    if (this._watches.has(this)) this.act(this.callback, this.newest);
  }

  // The page must refetch: by what it named for that, or as after any hint.
  refresh() {
    this.act(this.options.lost || this.callback);
  }

  // Of a hole the last message told all that a throttled callback would have been told.
  lost(name, hole) {
    if (!(hole && !this.options.raw) && !this.timers.lost) this.wait("lost", LOST * this._session.world.random(), () => this.refresh());
  }

  ready() {}

  refused(error) {
    this._session.world.report(new Error("Fanout: " + this.channel + " refused: " + error));
  }

  // The first at once, then one more when `throttle` has passed if others came: the last one matters most.
  // A refetch covers every hint before it, so it is never replaced by one.
  act(call, data) {
    const lost = this.options.lost;
    const place = isHidden(this._session.world) ? "due" : "next";
    if (!this[place] || !lost || this[place][0] !== lost) this[place] = [call, data];
    // At once is when all that came together was looked at: a recovery may bring many.
    if (place === "next" && !this.timers.throttle) Promise.resolve().then(() => this.again());
  }

  again() {
    if (!this.next || this.timers.throttle || !this._watches.has(this)) return;
    const [call, data] = this.next;
    this.next = null;
    if (isHidden(this._session.world)) return this.act(call, data);
    this.wait("throttle", this.options.throttle, () => this.again());
    this.last = this._session.world.now();
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
      this._session.world.report(error);
      // What could not be fetched now is fetched a little later, hub or no hub.
      if (this._watches.has(this)) this.schedule(false);
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
  schedule(well = this._session.reachable) {
    const { world } = this._session;
    world.cancel(this.timers.poll);
    const seconds = well ? this.options.calmPoll : this.options.poll;
    const passed = well ? world.now() - this.last : 0;
    if (seconds) this.wait("poll", seconds * (900 + 200 * world.random()) - passed, () => this.refresh());
  }

  wait(name, ms, call) {
    this.timers[name] = this._session.world.later(() => {
      delete this.timers[name];
      call();
    }, ms);
  }
}
