/* The promise, under whatever goes wrong: in order per channel, and nothing missed without a "lost". */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld } = require("./world.js");

/** Mulberry32: dice that fall the same way every time for a seed. */
function dice(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const CHANNELS = ["/a", "/b"];

async function run(seed) {
  const w = makeWorld();
  const { hub, clock, world, show } = w;
  const random = (world.random = dice(seed));
  const below = (n) => Math.floor(random() * n);
  hub.heartbeats = true;
  hub.kept = 5 + below(30);
  // The database: everything that was ever published, whatever the hub remembers of it.
  const database = { "/a": [], "/b": [] };
  const publish = (quietly) => {
    const name = CHANNELS[below(2)];
    database[name].push(`${hub.epoch}:${database[name].length}`);
    hub.publish(name, database[name].length - 1, quietly);
  };
  for (let n = below(5); n > 0; n--) publish();

  const { Fanout } = w.make();
  const pages = [];
  const open = (name) => {
    const page = { name, known: new Set(), got: [], shown: 0, from: database[name].length, losses: 0 };
    const refetch = () => {
      page.losses += 1;
      page.got.push("lost");
      for (let n = 0; n < database[name].length; n++) page.known.add(n);
    };
    const position = [undefined, "", hub.top(name), hub.top(name)][below(4)];
    const take = (data) => {
      if (data === undefined) return refetch();
      page.known.add(data);
      page.got.push(data);
    };
    const raw = Fanout.subscribe(name, take, { raw: true, poll: 0, calmPoll: 0, position, lost: below(2) ? refetch : undefined });
    // What most pages do: any call fetches everything there is.
    const plain = Fanout.subscribe(name, () => { page.shown = database[name].length; }, { poll: 0, calmPoll: 0, position });
    page.shown = database[name].length;
    page.close = () => [raw, plain].forEach((watch) => watch.cancel());
    // Without a position it counts from the moment the hub has answered.
    page.exact = position !== undefined;
    pages.push(page);
  };
  open("/a");
  open("/b");
  // Subscriptions without a position begin when they are answered: let them.
  await clock.pass(1000);
  for (const page of pages) if (!page.exact) Object.assign(page, { from: database[page.name].length });

  const acts = [
    () => publish(),
    () => publish(),
    () => { for (let n = 0; n < 12; n++) publish(); },
    () => { publish(true); hub.cut(); }, // written to what was already dead
    () => publish(true), // lost by a fault; only heartbeats can tell
    () => { // sent again, because the answer was not known to have arrived
      for (const session of hub.sessions.values()) {
        for (const name of session.patterns) hub.deliver(session, (hub.logs.get(name) || []).slice(-3));
      }
    },
    () => hub.cut([1001, 1006, 1013][below(3)]),
    () => hub.down(),
    () => hub.up(),
    () => { hub.sockets = ["refuse", "swallow", "accept"][below(3)]; },
    () => { hub.polls = ["refuse", 503, 404, "accept"][below(4)]; },
    () => hub.sessions.clear(),
    () => { hub.cut(); hub.forget(); },
    () => { // a failover: the hub goes on, and says what it must
      hub.forget({ sessions: false });
      for (const session of hub.sessions.values()) session.tops = { lost: [...session.patterns] };
    },
    () => { hub.deaf = !hub.deaf; },
    () => hub.numb(),
    () => { hub.numb(); world.document.fire("resume"); },
    () => { hub.lag = [0, 2000, 4000][below(3)]; },
    () => world.page.fire("offline"),
    () => world.page.fire("online"),
    () => { world.page.fire("pagehide"); world.page.fire("pageshow"); },
    () => show(false),
    () => show(true),
    () => { if (pages.length < 6) open(CHANNELS[below(2)]); },
    () => { for (const session of hub.sessions.values()) hub.answer(session); },
  ];
  for (let step = 0; step < 60; step++) {
    acts[below(acts.length)]();
    await clock.pass([0, 1, 7, 60, 500, 3000, 20_000, 90_000][below(8)]);
  }

  hub.deaf = false;
  hub.lag = 0;
  hub.up();
  show(true);
  await clock.pass(400_000);
  for (const name of CHANNELS) {
    for (const page of pages.filter((one) => one.name === name)) {
      const missed = database[name].map((_, n) => n).filter((n) => n >= page.from && !page.known.has(n));
      // Counting from its subscription's answer, a page without a position may have begun a little later.
      if (page.exact || page.losses) assert.deepEqual(missed, [], `seed ${seed}, ${name}: missed without a word`);
      else assert.ok(missed.every((n) => n <= Math.min(...page.known)), `seed ${seed}, ${name}: missed ${missed}`);
      const ordered = page.got.filter((data) => data !== "lost");
      for (let n = 1; n < ordered.length; n++) {
        assert.ok(ordered[n] > ordered[n - 1], `seed ${seed}, ${name}: ${ordered[n - 1]} before ${ordered[n]}`);
      }
      if (page.exact) assert.equal(page.shown, database[name].length, `seed ${seed}, ${name}: an old page is shown`);
    }
  }
  assert.match(Fanout.status, /websocket|long-polling/);
  assert.deepEqual(w.errors, []);
}

// FAULT_SEEDS=5000 for a night's run; a failure names its seed.
const SEEDS = +(process.env.FAULT_SEEDS || 60);
const FIRST = +(process.env.FAULT_FIRST || 1);

test(`${SEEDS} histories of faults: in order, and never missed silently`, async () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) await run(seed);
});
