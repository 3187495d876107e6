/* The session: which transport when, back-off, advice, and what becomes of messages in between. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld, settle } = require("./world.js");

const MINUTE = 60_000;

async function connected(prepare = () => {}) {
  const w = makeWorld();
  prepare(w);
  const { Fanout } = w.make();
  const heard = [];
  Fanout.subscribe("a", (data) => heard.push(data), { raw: true, poll: 0, calmPoll: 0 });
  await w.clock.pass(100);
  return { ...w, Fanout, heard };
}

// Which transport

test("WebSocket comes first", async () => {
  const { hub, Fanout } = await connected();
  assert.equal(Fanout.status, "websocket");
  assert.deepEqual(hub.attempts, ["websocket"]);
  assert.deepEqual(hub.channels.slice(0, 3), ["/meta/handshake", "/meta/subscribe", "/meta/connect"]);
});

test("a refused WebSocket falls back within the moment", async () => {
  const { Fanout } = await connected(({ hub }) => { hub.sockets = "refuse"; });
  assert.equal(Fanout.status, "long-polling");
});

test("a swallowed WebSocket falls back after 5 s", async () => {
  const { Fanout, clock } = await connected(({ hub }) => { hub.sockets = "swallow"; });
  assert.equal(Fanout.status, "connecting");
  await clock.pass(5000);
  assert.equal(Fanout.status, "long-polling");
});

test("a WebSocket that opens but carries no answer falls back after 10 s", async () => {
  const { Fanout, clock, hub } = await connected(({ hub }) => { hub.deaf = true; });
  await clock.pass(9000);
  assert.equal(Fanout.status, "connecting");
  hub.deaf = false;
  await clock.pass(1100);
  assert.equal(Fanout.status, "long-polling");
});

test("a browser without WebSocket polls", async () => {
  const { Fanout, hub } = await connected(({ world }) => { world.WebSocket = undefined; });
  assert.equal(Fanout.status, "long-polling");
  assert.ok(!hub.attempts.includes("websocket"));
});

test("a WebSocket constructor that throws is a refused WebSocket", async () => {
  const { Fanout } = await connected(({ world }) => { world.WebSocket = function () { throw new Error("policy"); }; });
  assert.equal(Fanout.status, "long-polling");
});

test("a WebSocket that worked and is cut three times running gives way to long-polling", async () => {
  const { Fanout, hub, clock } = await connected();
  for (let cut = 1; cut <= 2; cut++) {
    hub.cut();
    await clock.pass(5000);
    assert.equal(Fanout.status, "websocket");
  }
  hub.cut();
  await clock.pass(100);
  assert.equal(Fanout.status, "long-polling");
});

test("a WebSocket that is cut now and then is kept", async () => {
  const { Fanout, hub, clock } = await connected();
  for (let cut = 1; cut <= 6; cut++) {
    await clock.pass(MINUTE);
    hub.cut();
    await clock.pass(5000);
  }
  assert.equal(Fanout.status, "websocket");
});

test("the failure is remembered for the next page, and forgotten when WebSocket works again", async () => {
  const { kept, clock, hub, make } = await connected(({ hub }) => { hub.sockets = "refuse"; });
  assert.equal(kept.size, 1);
  hub.attempts.length = 0;
  const next = make().Fanout;
  next.subscribe("a", () => {});
  await clock.pass(100);
  assert.equal(next.status, "long-polling");
  assert.ok(!hub.attempts.includes("websocket"));
  hub.up();
  await clock.pass(4 * MINUTE);
  assert.equal(next.status, "websocket");
  assert.equal(kept.size, 0);
});

test("WebSocket is tried again beside a working poll, ever more seldom, and nothing is missed meanwhile", async () => {
  const { hub, clock, heard, Fanout } = await connected(({ hub }) => { hub.sockets = "refuse"; });
  const tried = () => hub.attempts.filter((kind) => kind === "websocket").length;
  await clock.pass(3 * MINUTE);
  assert.equal(tried(), 2);
  await clock.pass(63 * MINUTE);
  assert.equal(tried(), 6);
  hub.sockets = "swallow";
  for (let minute = 0; minute < 60; minute++) {
    hub.publish("/a", minute);
    await clock.pass(MINUTE);
  }
  hub.sockets = "accept";
  await clock.pass(65 * MINUTE);
  assert.equal(Fanout.status, "websocket");
  hub.publish("/a", 60);
  await clock.pass(10);
  assert.deepEqual(heard, Array.from({ length: 61 }, (_, n) => n));
});

test("a hub that restarts is not taken for a bad WebSocket", async () => {
  const { hub, clock, Fanout, kept } = await connected();
  hub.down();
  await clock.pass(MINUTE);
  hub.up();
  await clock.pass(MINUTE);
  assert.equal(Fanout.status, "websocket");
  assert.equal(kept.size, 0);
});

test("storage that throws is done without", async () => {
  const { Fanout } = await connected(({ world, hub }) => {
    Object.defineProperty(world, "storage", { get() { throw new Error("SecurityError"); } });
    hub.sockets = "refuse";
  });
  assert.equal(Fanout.status, "long-polling");
});

// Back-off

test("attempts get rarer, up to one in 30 s, and jitter spreads them", async () => {
  for (const [dice, least, most] of [[0.5, 40, 60], [0.999, 20, 32]]) {
    const { hub, clock } = await connected(({ hub, world }) => {
      world.random = () => dice;
      hub.down();
    });
    hub.attempts.length = 0;
    await clock.pass(10 * MINUTE);
    const rounds = hub.attempts.filter((kind) => kind === "websocket").length;
    assert.ok(rounds >= least && rounds <= most, `${rounds} rounds at ${dice}`);
  }
});

test("coming online, or into view, ends the wait", async () => {
  for (const wake of [({ world }) => world.page.fire("online"), ({ show }) => show(true)]) {
    const w = await connected(({ hub }) => hub.down());
    await w.clock.pass(10 * MINUTE);
    w.hub.up();
    wake(w);
    await w.clock.pass(50);
    assert.equal(w.Fanout.status, "websocket");
  }
});

test("going offline ends the connection, so that being online again recovers", async () => {
  const { hub, clock, world, heard } = await connected();
  await clock.pass(6000);
  hub.sockets = hub.polls = "refuse";
  world.page.fire("offline");
  hub.publish("/a", 1);
  await clock.pass(20_000);
  hub.up();
  world.page.fire("online");
  await clock.pass(50);
  assert.deepEqual(heard, [1]);
});

// HTTP

test("answers that are not the hub's are a broken connection", async () => {
  for (const status of [403, 404, 429, 500, 503, 204]) {
    const { hub, clock, Fanout, errors } = await connected(({ hub }) => {
      hub.sockets = "refuse";
      hub.polls = status;
    });
    assert.equal(Fanout.status, "unreachable", String(status));
    hub.polls = "accept";
    hub.sockets = "accept";
    await clock.pass(MINUTE);
    assert.equal(Fanout.status, "websocket");
    assert.deepEqual(errors, []);
  }
});

test("across origins a poll needs no preflight", async () => {
  const requests = [];
  await connected(({ world, hub }) => {
    hub.sockets = "refuse";
    world.url = "https://hub.test/bayeux";
    world.fetch = (url, init) => {
      requests.push({ url, init });
      return new Promise(() => {});
    };
  });
  const [{ url, init }] = requests;
  assert.equal(url, "https://hub.test/bayeux");
  assert.deepEqual(init.headers, {});
  assert.deepEqual(JSON.parse(new URLSearchParams(init.body).get("message"))[0].channel, "/meta/handshake");
});

test("on long-polling a held connect keeps nothing waiting, and what waits goes together in order", async () => {
  const w = makeWorld();
  w.hub.sockets = "refuse";
  const { Faye } = w.make();
  const client = new Faye.Client("/bayeux");
  client.subscribe("/a", () => {});
  await w.clock.pass(100);
  w.hub.attempts.length = w.hub.requests.length = 0;
  for (let n = 0; n < 10; n++) client.publish("/a", n);
  await w.clock.pass(4);
  assert.equal(w.hub.attempts.length, 1);
  await w.clock.pass(100);
  assert.deepEqual(w.hub.seen("/a").map((message) => message.data), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.ok(w.hub.attempts.length <= 5, `${w.hub.attempts.length} requests`);
});

// Advice

test("the interval is waited for between connects", async () => {
  const { hub, clock } = await connected(({ hub }) => {
    hub.sockets = "refuse";
    hub.advice = { reconnect: "retry", interval: 2000, timeout: 1000 };
  });
  hub.requests.length = 0;
  await clock.pass(30_000);
  assert.equal(hub.seen("/meta/connect").length, 10);
});

test("reconnect none ends it", async () => {
  const { hub, clock, Fanout } = await connected();
  const [session] = hub.sessions.values();
  hub.answer(session, { successful: false, error: "403::No", advice: { reconnect: "none" } });
  await clock.pass(100);
  hub.attempts.length = 0;
  await clock.pass(10 * MINUTE);
  assert.deepEqual(hub.attempts, []);
  assert.equal(Fanout.status, "unreachable");
});

test("a full hub's none is not for ever", async () => {
  const { hub, clock, Fanout } = await connected(({ hub }) => {
    const take = hub.take.bind(hub);
    hub.take = (batch, send, ...rest) => {
      if (!hub.full || batch[0].channel !== "/meta/handshake") return take(batch, send, ...rest);
      const [{ channel, id }] = batch;
      send([{ channel, id, successful: false, error: "429::Too many sessions", advice: { ...hub.advice, reconnect: "none" } }]);
    };
    hub.full = true;
  });
  assert.notEqual(Fanout.status, "websocket");
  hub.full = false;
  await clock.pass(MINUTE);
  assert.match(Fanout.status, /websocket|long-polling/);
});

test("advice inside a publication is not advice", async () => {
  const { hub, clock, heard } = await connected();
  const [session] = hub.sessions.values();
  hub.deliver(session, [{ channel: "/a", data: 1, id: "e1.1", advice: { reconnect: "none" } }]);
  await clock.pass(10);
  hub.publish("/a", "first");
  hub.publish("/a", "second");
  await clock.pass(10);
  assert.deepEqual(heard, [1, "second"]);
});

test("a hub that accepts a handshake and then doesn't know it is not hammered", async () => {
  const { hub, clock } = await connected(({ hub }) => {
    const take = hub.take.bind(hub);
    hub.take = (...given) => {
      take(...given);
      hub.sessions.clear();
    };
  });
  hub.requests.length = 0;
  await clock.pass(MINUTE);
  assert.ok(hub.seen("/meta/handshake").length < 15, `${hub.seen("/meta/handshake").length} handshakes in a minute`);
});

test("a connect that another connection took over comes back after the advised interval", async () => {
  const { hub, clock } = await connected();
  const [session] = hub.sessions.values();
  hub.answer(session, { successful: false, error: "408::Superseded", advice: { ...hub.advice, interval: 2000 } });
  hub.requests.length = 0;
  await clock.pass(1900);
  assert.equal(hub.requests.length, 0);
  await clock.pass(200);
  assert.deepEqual(hub.channels, ["/meta/connect"]);
});

test("a subscription the hub has no time for is asked for again", async () => {
  const { hub, clock, heard, errors } = await connected(({ hub }) => hub.refused.set("/a", "429::Too many requests"));
  hub.refused.clear();
  await clock.pass(MINUTE);
  hub.publish("/a", 1);
  await clock.pass(10);
  assert.deepEqual([heard, errors], [[1], []]);
});

test("garbage from the network ends the connection and disturbs nothing else", async () => {
  const { hub, clock, heard, Fanout } = await connected();
  await clock.pass(6000);
  const [socket] = hub.open;
  socket.onmessage({ data: "<html>" });
  await clock.pass(3000);
  const [again] = hub.open;
  for (const data of ["[]", "null", "[null, 3, \"x\"]", "{}", '{"successful":false,"error":"400::Bad message"}',
    '[{"channel":17,"data":1}]', '{"channel":"/a","data":1,"id":{"__proto__":1}}']) {
    again.onmessage({ data });
  }
  hub.publish("/a", 2);
  await clock.pass(10);
  assert.deepEqual(heard, [1, 2]);
  assert.equal(Fanout.status, "websocket");
});

test("a heartbeat that stays ahead restarts the connection once for each position", async () => {
  const { hub, clock } = await connected();
  hub.publish("/a", 1);
  await clock.pass(10);
  const handshakes = hub.attempts.length;
  for (let beat = 0; beat < 5; beat++) {
    const [session] = hub.sessions.values();
    session.tops = { tops: { "/a": "e1.9", "/never": "e1.1", "/b": "nonsense" } };
    hub.answer(session);
    await clock.pass(5000);
  }
  assert.equal(hub.attempts.length, handshakes + 1);
  await settle();
});
