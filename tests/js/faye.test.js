/* `new Faye.Client`: the surface pages use, without throttle. comparison.test.js sets it beside npm's. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld, settle } = require("./world.js");

function faye(options, prepare = () => {}) {
  const w = makeWorld();
  prepare(w);
  const { Faye } = w.make();
  return { ...w, Faye, client: new Faye.Client("/bayeux", options) };
}

test("options of Faye and of Fanout's Faye are known, others throw", () => {
  const { Faye } = faye();
  new Faye.Client("/bayeux", { transportMode: "fallback", timeout: 60, retry: 5, interval: 0, endpoints: {}, proxy: {},
    scheduler: Faye.Scheduler, websocketExtensions: [], tls: {}, ca: "" });
  assert.throws(() => new Faye.Client("/bayeux", { retries: 5 }), { message: "Unrecognized option: retries" });
  assert.throws(() => new Faye.Client("/bayeux").publish("/a", 1, { tries: 5 }), { message: "Unrecognized option: tries" });
});

test("every message is delivered, in its context, with its channel", async () => {
  const { client, hub, clock } = faye({ transportMode: "fallback" });
  const heard = [];
  const page = { name: "page" };
  client.subscribe("/a/*", function (data) { heard.push([this.name, data]); }, page)
    .withChannel(function (channel, data) { heard.push([this.name, channel, data]); }, page);
  await clock.pass(100);
  hub.publish("/a/b", 1);
  hub.publish("/a/b", 2);
  await clock.pass(10);
  assert.deepEqual(heard, [["page", 1], ["page", "/a/b", 1], ["page", 2], ["page", "/a/b", 2]]);
});

test("an array of channels gives an array of subscriptions", async () => {
  const { client, hub, clock } = faye();
  const heard = [];
  const subscriptions = client.subscribe(["/a", "/b"], (data) => heard.push(data));
  await clock.pass(100);
  hub.publish("/a", 1);
  await clock.pass(10);
  subscriptions[1].cancel();
  hub.publish("/b", 2);
  client.unsubscribe(["/a"]);
  await clock.pass(10);
  hub.publish("/a", 3);
  await clock.pass(10);
  assert.equal(subscriptions.length, 2);
  assert.deepEqual(heard, [1]);
});

test("a channel is asked for once, and given up with its last listener", async () => {
  const { client, hub, clock } = faye();
  const first = client.subscribe("/a", () => {});
  await clock.pass(100);
  const second = client.subscribe("/a", () => {});
  await second;
  first.cancel();
  first.cancel();
  await clock.pass(10);
  assert.deepEqual([hub.seen("/meta/subscribe").length, hub.seen("/meta/unsubscribe").length], [1, 0]);
  second.unsubscribe();
  await clock.pass(10);
  assert.equal(hub.seen("/meta/unsubscribe").length, 1);
});

test("a subscription is thenable, and a refused one has code, params and message", async () => {
  const { client, hub, clock } = faye();
  hub.refused.set("/no", "403:/no,x:Forbidden channel");
  hub.refused.set("/odd", "what, ever");
  const errors = [];
  let done = 0;
  client.subscribe("/a", () => {}).then(() => done++);
  client.subscribe("/a", () => {}).callback(() => done++);
  client.subscribe("/no", () => {}).then(null, (error) => errors.push(error));
  client.subscribe("/odd", () => {}).errback((error) => errors.push(error));
  await clock.pass(100);
  assert.equal(done, 2);
  assert.deepEqual(errors.map(({ code, params, message }) => [code, params, message]),
    [[403, ["/no", "x"], "Forbidden channel"], [null, [], "what, ever"]]);
  assert.equal(String(errors[0]), "403:/no,x:Forbidden channel");
});

test("a refusal nobody looks at is no unhandled rejection", async () => {
  const { client, hub, clock } = faye();
  hub.refused.set("/no", "403:/no:Forbidden channel");
  client.subscribe("/no", () => {});
  await clock.pass(100);
  await new Promise(setImmediate);
});

test("a publication resolves when the hub has it, and rejects with the hub's reason", async () => {
  const { client, hub, clock } = faye();
  hub.refused.set("/closed", "403:/closed:Forbidden channel");
  const seen = [];
  client.publish("/a", { text: "hello" }).then(() => seen.push("published"));
  client.publish("/closed", 1).then(() => seen.push("never"), (error) => seen.push(error.code));
  await clock.pass(100);
  assert.deepEqual(seen, ["published", 403]);
  assert.deepEqual(hub.seen("/a")[0].data, { text: "hello" });
});

test("what JSON cannot say is the caller's error", () => {
  const { client } = faye();
  const loop = {};
  loop.loop = loop;
  assert.throws(() => client.publish("/a", loop), TypeError);
});

test("a publication that got no answer is sent again under the same ids, so that the hub knows a repeat", async () => {
  const { client, hub, clock } = faye();
  client.connect();
  await clock.pass(100);
  hub.deaf = true;
  let done = false;
  client.publish("/a", 1).then(() => { done = true; });
  await clock.pass(10);
  hub.deaf = false;
  hub.cut();
  await clock.pass(3000);
  const [first, again] = hub.seen("/a");
  assert.deepEqual([again.id, again.clientId], [first.id, first.clientId]);
  assert.ok(done);
});

test("a publication that waited for a hub which forgot us goes out under the new session", async () => {
  const { client, hub, clock } = faye();
  client.connect();
  await clock.pass(100);
  hub.down();
  hub.sessions.clear();
  let done = false;
  client.publish("/a", 1).then(() => { done = true; });
  await clock.pass(5000);
  hub.up();
  await clock.pass(30_000);
  assert.ok(done);
});

test("attempts and deadline bound how long a publication is tried", async () => {
  const { client, hub, clock } = faye();
  client.connect();
  await clock.pass(100);
  hub.deaf = true;
  client.publish("/attempts", 1, { attempts: 1 });
  client.publish("/deadline", 1, { deadline: 5 });
  await clock.pass(20_000);
  hub.deaf = false;
  const before = hub.requests.length;
  await clock.pass(120_000);
  const late = hub.requests.slice(before).map((message) => message.channel);
  assert.ok(late.includes("/meta/connect"));
  assert.ok(!late.includes("/attempts") && !late.includes("/deadline"));
});

test("a scheduler of the page is asked", async () => {
  const calls = [];
  const w = makeWorld();
  const { Faye } = w.make();
  class Spy extends Faye.Scheduler {
    send() { calls.push("send"); super.send(); }
    succeed() { calls.push("succeed"); }
    fail() { calls.push("fail"); }
  }
  const client = new Faye.Client("/bayeux", { scheduler: Spy });
  client.connect();
  await w.clock.pass(100);
  w.hub.deaf = true;
  client.publish("/a", 1);
  await w.clock.pass(10);
  w.hub.deaf = false;
  w.hub.cut();
  await w.clock.pass(3000);
  assert.deepEqual(calls, ["send", "fail", "send", "succeed"]);
});

test("a message too big for the hub is refused once, not sent for ever", async () => {
  const { client, hub, clock } = faye();
  client.connect();
  await clock.pass(100);
  hub.deaf = true;
  const errors = [];
  client.publish("/a", "x").then(null, (error) => errors.push(error.code));
  await clock.pass(10);
  hub.deaf = false;
  hub.cut(1009);
  await clock.pass(30_000);
  assert.deepEqual(errors, [413]);
  assert.equal(hub.seen("/a").length, 1);
});

test("the same over long-polling, from a proxy that knows no Bayeux", async () => {
  const { client, hub, clock } = faye({}, ({ hub }) => { hub.sockets = "refuse"; });
  client.subscribe("/b", () => {});
  await clock.pass(100);
  hub.polls = 413;
  const errors = [];
  client.publish("/a", "x").then(null, (error) => errors.push(error.code));
  await clock.pass(50);
  assert.deepEqual(errors, [413]);
});

test("transport:up and transport:down tell how it goes", async () => {
  const { client, hub, clock } = faye();
  const seen = [];
  const page = { name: "page" };
  client.on("transport:up", () => seen.push("up"));
  client.bind("transport:down", function () { seen.push(this.name); }, page);
  client.once("transport:up", () => seen.push("once"));
  client.connect();
  await clock.pass(100);
  hub.down();
  await clock.pass(20_000);
  hub.up();
  await clock.pass(60_000);
  assert.deepEqual(seen, ["up", "once", "page", "up"]);
});

test("events are the page's too", () => {
  const { client } = faye();
  const seen = [];
  const call = (...values) => seen.push(values);
  const page = {};
  client.bind("x", call, page);
  client.bind("x", call);
  assert.equal(client.countListeners("x"), 2);
  assert.equal(client.trigger("x", 1, 2), true);
  client.unbind("x", call, page);
  client.emit("x", 3);
  client.unbind("x");
  assert.equal(client.trigger("x", 4), false);
  client.addListener("y", call).removeListener("y", call).on("y", call).off("y", call).on("y", call);
  assert.equal(client.listeners("y").length, 1);
  client.removeAllListeners();
  assert.equal(client.trigger("y"), false);
  assert.throws(() => client.on("x", 17), /only takes instances of Function/);
  assert.deepEqual(seen, [[1, 2], [1, 2], [3]]);
});

test("extensions see every message, may wait, change and veto", async () => {
  const { client, hub, clock } = faye();
  const heard = [];
  const seen = [];
  const extension = {
    added: (host) => seen.push(host === client),
    removed: (host) => seen.push(host === client),
    outgoing(message, callback) {
      if (message.channel === "/meta/subscribe") message.ext = { ...message.ext, token: "t" };
      if (message.channel === "/veto") return callback(null);
      clock.later(() => callback(message), 20);
    },
    incoming(message, request, callback) {
      if (message.data) message.data += "!";
      callback(message);
    },
  };
  client.addExtension(extension);
  client.subscribe("/a", (data) => heard.push(data));
  await clock.pass(500);
  client.publish("/veto", 1);
  hub.publish("/a", "hello");
  await clock.pass(100);
  assert.equal(hub.seen("/meta/subscribe")[0].ext.token, "t");
  assert.equal(hub.seen("/veto").length, 0);
  assert.deepEqual(heard, ["hello!"]);
  client.removeExtension(extension);
  client.removeExtension(extension);
  assert.deepEqual(seen, [true, true]);
  hub.publish("/a", "plain");
  await clock.pass(10);
  assert.deepEqual(heard, ["hello!", "plain"]);
});

test("an extension's change is made anew each time, not piled up", async () => {
  const { client, hub, clock } = faye();
  client.addExtension({
    outgoing(message, callback) {
      if (message.channel === "/a") message.data += "+";
      callback(message);
    },
  });
  client.connect();
  await clock.pass(100);
  hub.deaf = true;
  client.publish("/a", "x");
  await clock.pass(10);
  hub.deaf = false;
  hub.cut();
  await clock.pass(3000);
  assert.deepEqual(hub.seen("/a").map((message) => message.data), ["x+", "x+"]);
});

test("disable chooses transports", async () => {
  for (const [feature, kind] of [["websocket", "long-polling"], ["long-polling", "websocket"]]) {
    const { client, hub, clock } = faye();
    client.disable(feature);
    client.subscribe("/a", () => {});
    await clock.pass(100);
    assert.deepEqual([...new Set(hub.requests.map((message) => message.over))], [kind]);
  }
});

test("endpoints and headers go to the transport they are for", async () => {
  const requests = [];
  const { client, clock } = faye({ endpoints: { "long-polling": "http://poll.test/x" } }, ({ world, hub }) => {
    hub.sockets = "refuse";
    const { fetch } = world;
    world.fetch = (url, init) => {
      requests.push([url, init.headers.Authorization]);
      return fetch(url, init);
    };
  });
  client.setHeader("Authorization", "Bearer x");
  client.connect();
  await clock.pass(100);
  assert.deepEqual(requests[0], ["http://poll.test/x", "Bearer x"]);
});

test("disconnect says goodbye, resolves, and is final", async () => {
  const { client, hub, clock } = faye();
  assert.equal(client.disconnect(), undefined);
  const heard = [];
  client.subscribe("/a", (data) => heard.push(data));
  await clock.pass(100);
  let done = false;
  client.disconnect().then(() => { done = true; });
  await clock.pass(50);
  assert.ok(done);
  assert.equal(hub.sessions.size, 0);
  client.subscribe("/a", (data) => heard.push(data));
  client.publish("/a", 1);
  hub.attempts.length = 0;
  await clock.pass(600_000);
  hub.publish("/a", 1);
  assert.deepEqual([hub.attempts, heard], [[], []]);
});

test("a disconnect that gets no answer ends too", async () => {
  const { client, hub, clock } = faye();
  client.connect();
  await clock.pass(100);
  hub.deaf = true;
  client.disconnect();
  await clock.pass(60_000);
  hub.attempts.length = 0;
  await clock.pass(600_000);
  assert.deepEqual(hub.attempts, []);
  assert.equal(hub.open.size, 0);
});

test("autodisconnect is the default when the page goes, and can be disabled", async () => {
  for (const [keep, sessions] of [[false, 0], [true, 1]]) {
    const { client, hub, clock, world } = faye();
    if (keep) client.disable("autodisconnect");
    client.subscribe("/a", () => {});
    await clock.pass(100);
    world.page.fire("pagehide");
    await clock.pass(100);
    assert.equal(hub.sessions.size, sessions);
  }
});

test("connect and handshake call back once connected", async () => {
  const { client, clock } = faye();
  const seen = [];
  client.handshake(function () { seen.push(["handshake", this.name]); }, { name: "page" });
  client.connect(() => seen.push(["connect"]));
  client.then(() => seen.push(["then"]));
  client.callback(() => seen.push(["callback"]));
  await clock.pass(100);
  client.connect(() => seen.push(["again"]));
  await clock.pass(1);
  await settle();
  assert.deepEqual(seen, [["handshake", "page"], ["connect"], ["then"], ["callback"], ["again"]]);
});

test("a lost stretch of a channel is an event", async () => {
  const { client, hub, clock } = faye();
  const lost = [];
  client.on("lost", (channel) => lost.push(channel));
  client.subscribe("/a", () => {});
  await clock.pass(100);
  hub.publish("/a", 1);
  await clock.pass(10);
  hub.cut();
  hub.forget();
  await clock.pass(5000);
  assert.deepEqual(lost, ["/a"]);
});

test("a page's error in any callback goes to its error handlers", async () => {
  const { client, hub, clock, errors } = faye();
  const boom = () => { throw new Error("boom"); };
  client.on("transport:up", boom);
  client.addExtension({ incoming(message, callback) { callback(message); boom(); } });
  client.subscribe("/a", boom).withChannel(boom);
  client.connect(boom);
  client.callback(boom);
  await clock.pass(100);
  const before = errors.length;
  hub.publish("/a", 1);
  await clock.pass(10);
  assert.ok(before >= 3);
  assert.equal(errors.length - before, 3);
});

test("a deferred can be given a time limit", async () => {
  const { client, hub, clock } = faye();
  hub.down();
  const errors = [];
  const publication = client.publish("/a", 1);
  publication.timeout(5, "too late");
  publication.errback((error) => errors.push(error));
  await clock.pass(6000);
  assert.deepEqual(errors, ["too late"]);
});

test("Faye.logger gets what clients log", () => {
  const { Faye, client } = faye();
  const lines = [];
  Faye.logger = { warn: (line) => lines.push(line) };
  client.warn("? is not ?", 1, "two");
  client.info("nothing");
  Faye.logger = (line) => lines.push(line);
  client.debug("plain");
  assert.deepEqual(lines, ['[Faye.Client] 1 is not "two"', "[Faye.Client] plain"]);
});
