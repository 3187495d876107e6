/*
 * Fanout in the browser: hear at once that something changed, and ask the page's own URL what.
 *
 *   const watch = Fanout.subscribe("comments-17", refresh, { position: "k3f9a2b1.12" });
 *   watch.cancel();
 *
 * Nothing connects before the first subscribe. WebSocket first, long-polling when that fails, and
 * `refresh` called now and then when neither reaches the hub. `make client` builds static/fanout.js of it.
 */
import { makeFanout } from "./fanout.js";
import { begin, root, worldOf } from "./world.js";

/** A client of its own in a world of its own: for tests, and for pages of two hubs. */
function make(given) {
  return { Fanout: Object.assign(makeFanout(worldOf(given)), { make }) };
}

// Faye was in this file once. A page that still looks for it here is told where it is, unless it has Faye's own.
const moved = {
  get Client() {
    throw new Error("Fanout: Faye.Client is not in fanout.js but in faye.js, beside Fanout: load that file instead");
  },
};

begin(make, { Faye: root.Faye || moved });
