/* Fanout, and `new Faye.Client(url)` for pages that have one. `make client` builds static/faye.js of it. */
import { makeFanout } from "./fanout.js";
import { makeFaye } from "./faye.js";
import { begin, worldOf } from "./world.js";

/** A client of its own in a world of its own: for tests, and for pages of two hubs. */
function make(given) {
  const world = worldOf(given);
  return { Fanout: Object.assign(makeFanout(world), { make }), Faye: makeFaye(world) };
}

begin(make);
