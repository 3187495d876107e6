/*
 * A page that wakes: shown again, online again, back from the browser's cache or from sleep. A NAT had forgotten
 * its connection, and the page was old for 46 s while its status said "websocket".
 */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld } = require("./world.js");

const WAYS = {
  shown: async ({ show }) => { show(false); show(true); },
  online: async ({ world }) => world.page.fire("online"),
  // A page that keeps its connection while it is left: Faye's `disable("autodisconnect")`.
  pageshow: async ({ world }) => world.page.fire("pageshow"),
  "frozen and resumed": async ({ world }) => world.document.fire("resume"),
  "asleep for a minute": async ({ clock }) => {
    // Timers stand still meanwhile, those of a page by its monotonic clock; the time of day does not.
    for (const timer of clock.timers.values()) timer.at += 60_000;
    clock.time += 60_000;
    // What a page looks at every 10 s is late, then.
    for (const timer of clock.timers.values()) if (timer.at - clock.time <= 10_000) timer.at = clock.time;
  },
};
const refuseSockets = ({ hub }) => { hub.sockets = "refuse"; };
const KINDS = [["websocket", () => {}], ["long-polling", refuseSockets]];

async function listening(prepare = () => {}, channel = "a", configure = {}) {
  const w = makeWorld();
  prepare(w);
  const { Fanout, Faye } = w.make();
  Fanout.configure(configure);
  const heard = [];
  Fanout.subscribe(channel, (data) => heard.push(data), { raw: true, poll: 0, calmPoll: 0 });
  await w.clock.pass(100);
  w.hub.publish("/a", 0);
  await w.clock.pass(5000);
  assert.deepEqual(heard, [0]);
  w.hub.attempts.length = 0;
  return { ...w, Fanout, Faye, heard };
}

for (const [kind, prepare] of KINDS) {
  for (const [how, wake] of Object.entries(WAYS)) {
    test(`${kind}, ${how}: a connection that died without a word is replaced within 4 s`, async () => {
      const w = await listening(prepare);
      w.hub.numb();
      w.hub.publish("/a", 1);
      await wake(w);
      await w.clock.pass(4000);
      assert.deepEqual(w.heard, [0, 1]);
      assert.equal(w.Fanout.status, kind);
      assert.ok(w.hub.attempts.length < 5, `${w.hub.attempts}`);
      w.hub.publish("/a", 2);
      await w.clock.pass(100);
      assert.deepEqual(w.heard, [0, 1, 2]);
    });
  }

  test(`${kind}: without an answer the status does not claim a connection`, async () => {
    const { hub, clock, Fanout, show } = await listening(prepare);
    hub.numb();
    hub.sockets = hub.polls = "swallow";
    show(true);
    for (let n = 0; n < 20; n++) {
      await clock.pass(200);
      assert.match(Fanout.status, /connecting|unreachable/);
    }
    hub.polls = "accept";
    hub.sockets = kind === "websocket" ? "accept" : "refuse";
    await clock.pass(30_000);
    assert.match(Fanout.status, /websocket|long-polling/);
  });

  test(`${kind}: a pattern, which has no position to recover from, is told lost`, async () => {
    const { hub, clock, heard, show } = await listening(prepare, "/**");
    hub.numb();
    hub.publish("/a", 1);
    show(true);
    await clock.pass(5000);
    assert.deepEqual(heard, [0, undefined]);
  });

  test(`${kind}: waking a hundred times is one question, and one more connection`, async () => {
    const { hub, clock, show, world } = await listening(prepare);
    hub.numb();
    for (let n = 0; n < 100; n++) {
      show(n % 2 === 0);
      world.page.fire("online");
      await clock.pass(20);
    }
    await clock.pass(3000);
    // A beginning by polls is two requests, and comes once a second.
    assert.ok(hub.attempts.length <= (kind === "websocket" ? 1 : 10), `${hub.attempts}`);
    assert.ok(hub.asked <= 4, `asked ${hub.asked} times`);
  });

  test(`${kind}: waking a hundred times while the hub is down is an attempt a second`, async () => {
    const { hub, clock, show, world } = await listening(prepare);
    hub.down();
    await clock.pass(60_000);
    hub.attempts.length = 0;
    for (let n = 0; n < 100; n++) {
      show(n % 2 === 0);
      world.page.fire("online");
      await clock.pass(100);
    }
    // In ten seconds, each by both transports.
    assert.ok(hub.attempts.length <= 26, `${hub.attempts.length} attempts`);
    hub.up();
    if (kind === "long-polling") hub.sockets = "refuse";
    show(true);
    await clock.pass(1100);
    hub.publish("/a", 1);
    await clock.pass(100);
    assert.equal(hub.sessions.size > 0, true);
  });

  test(`${kind}: a hub that is slow but alive keeps its clients`, async () => {
    const { hub, clock, show, heard, Fanout } = await listening(prepare);
    hub.lag = 2000;
    for (let n = 0; n < 5; n++) {
      show(true);
      await clock.pass(10_000);
    }
    assert.equal(Fanout.status, kind);
    // A WebSocket is asked and left as it is; of polls each question is a request.
    if (kind === "websocket") assert.deepEqual(hub.attempts, []);
    hub.lag = 6000;
    for (let n = 0; n < 20; n++) {
      show(true);
      await clock.pass(1500);
    }
    await clock.pass(20_000);
    assert.equal(Fanout.status, kind, "waking again and again does not cut short what was tried");
    hub.lag = 0;
    hub.publish("/a", 1);
    await clock.pass(100);
    assert.deepEqual(heard, [0, 1]);
  });

  test(`${kind}: waking while offline asks nothing, and coming online does`, async () => {
    const { hub, clock, show, world, heard } = await listening(prepare);
    world.page.navigator = { onLine: false };
    world.page.fire("offline");
    hub.attempts.length = 0;
    show(true);
    show(true);
    assert.deepEqual(hub.attempts, []);
    hub.publish("/a", 1);
    await clock.pass(300);
    world.page.navigator.onLine = true;
    world.page.fire("online");
    await clock.pass(1100);
    assert.deepEqual(heard, [0, 1]);
  });

  test(`${kind}: Faye's client is the same session`, async () => {
    const { hub, clock, show, Faye } = await listening(prepare);
    const client = new Faye.Client("http://site.test/bayeux");
    client.disable("autodisconnect");
    const got = [];
    await Promise.all([client.subscribe("/a", (data) => got.push(data)), clock.pass(100)]);
    await clock.pass(2000);
    hub.numb();
    hub.publish("/a", "news");
    show(true);
    await clock.pass(4000);
    const sent = client.publish("/a", "mine");
    await clock.pass(100);
    await sent;
    await clock.pass(100);
    assert.deepEqual(got.slice(-1), ["mine"]);
  });

  test(`${kind}: a token is asked for with a new connection, not with a question`, async () => {
    let asked = 0;
    const { hub, clock, show, heard } = await listening(prepare, "a", { token: async () => `token ${++asked}` });
    const before = asked;
    if (kind === "websocket") {
      show(true);
      await clock.pass(3000);
      assert.equal(asked, before);
    }
    hub.numb();
    hub.publish("/a", 1);
    show(true);
    await clock.pass(4000);
    assert.equal(asked, before + 1);
    assert.deepEqual(heard, [0, 1]);
  });
}

test("a token that takes its time after waking opens what it is for", async () => {
  const { Fanout, hub, clock, show, heard } = await listening();
  Fanout.configure({ token: () => new Promise((resolve) => clock.later(() => resolve("a token"), 6000)) });
  hub.numb();
  hub.publish("/a", 1);
  show(true);
  await clock.pass(9000);
  assert.deepEqual(heard, [0, 1]);
});

test("a healthy WebSocket is asked and kept", async () => {
  const { hub, clock, show, Fanout } = await listening();
  show(true);
  await clock.pass(1);
  assert.equal(hub.asked, 1);
  await clock.pass(60_000);
  assert.deepEqual([hub.attempts, Fanout.status], [[], "websocket"]);
});

test("anything that comes answers the question", async () => {
  const { hub, clock, show, heard } = await listening();
  hub.lag = 4000;
  show(true);
  await clock.pass(1000);
  hub.publish("/a", 1);
  await clock.pass(3000);
  assert.deepEqual([heard, hub.attempts], [[0, 1], []]);
});

test("dozens of tabs that come online together do not ask in the same moment", async () => {
  const w = makeWorld();
  let seed = 1;
  w.world.random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const tabs = Array.from({ length: 48 }, () => w.make().Fanout);
  for (const tab of tabs) tab.subscribe("a", () => {}, { poll: 0, calmPoll: 0 });
  await w.clock.pass(10_000);
  w.world.document.hidden = true;
  w.world.page.fire("online");
  const asked = [];
  for (let n = 0; n < 20; n++) {
    await w.clock.pass(100);
    asked.push(w.hub.asked);
  }
  assert.equal(asked.at(-1), 48);
  const most = Math.max(...asked.map((total, n) => total - (asked[n - 1] || 0)));
  assert.ok(most <= 12, `${most} of 48 within 100 ms`);
});

test("a hidden page whose timers run once a minute is not asleep", async () => {
  const { hub, clock, show } = await listening();
  show(false);
  for (let n = 0; n < 10; n++) {
    clock.time += 55_000;
    await clock.pass(5000);
  }
  assert.equal(hub.asked, 0);
});

test("a page that was cancelled, or is in the browser's cache, asks nothing", async () => {
  const { hub, clock, show, world } = await listening();
  world.page.fire("pagehide");
  show(true);
  world.page.fire("online");
  await clock.pass(60_000);
  assert.deepEqual([hub.attempts, hub.asked], [[], 0]);
});
