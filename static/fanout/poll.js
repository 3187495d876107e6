import { CONNECT, DISCONNECT } from "./words.js";

/**
 * Long-polling that wears WebSocket's interface, so that a session has no branch for it.
 *
 * A lone connect is a request of its own, for the hub holds it. The rest takes turns, what waits going
 * together: two requests at once could arrive in the other order.
 */
export class Poll {
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
