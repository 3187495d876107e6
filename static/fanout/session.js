import { Connection } from "./connection.js";
import { POLLING, REPLY } from "./words.js";
import { isHidden } from "./world.js";

// Milliseconds. A page that wakes asks over its connection, and opens another after ASK without an answer. What
// wakes many pages at once (a network that is back) is spread; pages that nobody sees have more time. A poll that
// was answered within OFTEN is left alone for as long, and so is a hub that was tried.
const ASK = 2500;
const SPREAD = 500;
const SPREAD_HIDDEN = 2000;
const OFTEN = 1000;
// A timer that comes late by more than this was asleep. Browsers run those of hidden pages once a minute.
const TICK = 10000;
const TICK_HIDDEN = 90000;

/** A Bayeux session over whichever transport works, on a page that is hidden, shown, taken offline and woken. */
export class Session extends Connection {
  constructor(world, url, changed) {
    super(world, url, changed);
    this._listen();
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
      const ms = Math.max(isHidden(this.world) ? wait : 0, this.began + OFTEN - now);
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
      if (world.now() - due > (isHidden(this.world) ? TICK_HIDDEN : TICK)) this.wake(this._spread());
    });
  }

  _spread() {
    return isHidden(this.world) ? SPREAD_HIDDEN : SPREAD;
  }

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
}
