/* Fanout.subscribe: when the callback is called, and that nothing is missed. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld } = require("./world.js");

/** A client that listens to comments-17 and is connected; `heard` is what its callback got. */
async function listen(options, prepare = () => {}) {
  const w = makeWorld();
  prepare(w);
  const { Fanout } = w.make();
  const heard = [];
  const watch = Fanout.subscribe("comments-17", (data) => heard.push(data), options);
  await w.clock.pass(100);
  return { ...w, Fanout, heard, watch };
}

const refuseSockets = ({ hub }) => { hub.sockets = "refuse"; };
const TRANSPORTS = [["websocket", () => {}], ["long-polling", refuseSockets]];
const RAW = { raw: true };

test("nothing connects before the first subscribe", async () => {
  const { make, hub, clock } = makeWorld();
  const { Fanout } = make();
  await clock.pass(60_000);
  assert.deepEqual(hub.attempts, []);
  assert.equal(Fanout.status, "idle");
});

test("a channel is named with or without its slash", async () => {
  const { hub, clock, make } = makeWorld();
  const { Fanout } = make();
  const heard = [];
  Fanout.subscribe("comments-17", () => heard.push("without"));
  Fanout.subscribe("/comments-17", () => heard.push("with"));
  await clock.pass(100);
  hub.publish("/comments-17", 1);
  await clock.pass(10);
  assert.deepEqual(heard, ["without", "with"]);
  assert.equal(hub.seen("/meta/subscribe").length, 1);
});

for (const [kind, prepare] of TRANSPORTS) {
  test(`${kind}: a publication reaches the callback at once`, async () => {
    const { hub, clock, heard, Fanout } = await listen({}, prepare);
    assert.equal(Fanout.status, kind);
    hub.publish("/comments-17", 41);
    await clock.pass(10);
    assert.deepEqual(heard, [41]);
  });

  test(`${kind}: what was published between page and subscribe is recovered, in order`, async () => {
    const { clock, heard } = await listen({ raw: true, position: "e1.1" }, (w) => {
      prepare(w);
      for (const data of ["a", "b", "c"]) w.hub.publish("/comments-17", data);
    });
    await clock.pass(100);
    assert.deepEqual(heard, ["b", "c"]);
  });

  test(`${kind}: after a lost connection nothing is missing and nothing comes twice`, async () => {
    const { hub, clock, heard } = await listen(RAW, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(10);
    hub.cut();
    hub.publish("/comments-17", 2);
    hub.publish("/comments-17", 3);
    await clock.pass(3000);
    hub.publish("/comments-17", 4);
    await clock.pass(100);
    assert.deepEqual(heard, [1, 2, 3, 4]);
  });

  test(`${kind}: a publication lost on the way is recovered before what came after it`, async () => {
    const { hub, clock, heard } = await listen(RAW, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(10);
    hub.publish("/comments-17", 2, true); // written to a socket that was already dead
    hub.cut();
    hub.publish("/comments-17", 3);
    await clock.pass(3000);
    assert.deepEqual(heard, [1, 2, 3]);
  });

  test(`${kind}: a hub that forgot its sessions is greeted anew, and recovered from`, async () => {
    const { hub, clock, heard } = await listen(RAW, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(10);
    hub.cut();
    hub.sessions.clear();
    hub.publish("/comments-17", 2);
    await clock.pass(3000);
    assert.deepEqual(heard, [1, 2]);
    assert.equal(hub.seen("/meta/handshake").length, 2);
  });

  test(`${kind}: a hub that forgot its history makes the page refetch, once, after a jitter`, async () => {
    let lost = 0;
    const { hub, clock } = await listen({ lost: () => lost++ }, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(600);
    hub.cut();
    hub.forget();
    await clock.pass(520);
    const soon = lost;
    await clock.pass(5000);
    assert.deepEqual([soon, lost], [0, 1]);
    hub.publish("/comments-17", "new life");
    await clock.pass(1000);
    assert.equal(lost, 1);
  });

  test(`${kind}: a heartbeat that is ahead makes the client recover the lost last publication`, async () => {
    const { hub, clock, heard } = await listen(RAW, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(10);
    const id = hub.publish("/comments-17", 2, true);
    const [session] = hub.sessions.values();
    session.tops = { tops: { "/comments-17": id } };
    hub.answer(session);
    await clock.pass(900);
    assert.deepEqual(heard, [1]);
    await clock.pass(300);
    assert.deepEqual(heard, [1, 2]);
  });

  test(`${kind}: a connection that falls silent is found by its overdue heartbeat`, async () => {
    const { hub, clock, heard } = await listen(RAW, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(10);
    for (const session of hub.sessions.values()) Object.assign(session, { hold: null, socket: null, patterns: new Set() });
    hub.publish("/comments-17", 2);
    await clock.pass(1.2 * 45_000 + 3000);
    assert.deepEqual(heard, [1, 2]);
  });
}

test("a subscription without a position is told to refetch after an outage that preceded its first answer", async () => {
  const { hub, clock, heard } = await listen({ poll: 0 }, ({ hub }) => hub.down());
  assert.deepEqual(heard, []);
  hub.up();
  await clock.pass(10_000);
  assert.deepEqual(heard, [undefined]);
});

test("falling back to long-polling at the start is no reason to refetch", async () => {
  const { clock, heard } = await listen({}, refuseSockets);
  await clock.pass(5000);
  assert.deepEqual(heard, []);
});

test("an empty position means that the page does not know what it shows", async () => {
  const { clock, heard } = await listen({ position: "" });
  await clock.pass(2000);
  assert.deepEqual(heard, [undefined]);
});

test("a second subscription with an older position refetches, with a newer one skips what it has", async () => {
  const { hub, clock, Fanout } = await listen(RAW, ({ hub }) => {
    for (const data of ["a", "b", "c"]) hub.publish("/comments-17", data);
  });
  const older = [];
  const newer = [];
  Fanout.subscribe("comments-17", (data) => older.push(data), { raw: true, position: "e1.1" });
  Fanout.subscribe("comments-17", (data) => newer.push(data), { raw: true, position: "e1.4" });
  await clock.pass(2000);
  hub.publish("/comments-17", "d");
  hub.publish("/comments-17", "e");
  await clock.pass(10);
  assert.deepEqual([older, newer], [[undefined, "d", "e"], ["e"]]);
});

test("two subscriptions of one page recover from the older of their positions", async () => {
  const w = makeWorld();
  for (const data of ["a", "b", "c"]) w.hub.publish("/comments-17", data);
  const { Fanout } = w.make();
  const older = [];
  const newer = [];
  Fanout.subscribe("comments-17", (data) => newer.push(data), { raw: true, position: "e1.2" });
  Fanout.subscribe("comments-17", (data) => older.push(data), { raw: true, position: "e1.1" });
  await w.clock.pass(2000);
  assert.deepEqual([older, newer], [["b", "c"], ["c"]]);
});

test("what was published while the hub looked up the position is not taken for a repeat", async () => {
  const w = makeWorld();
  const { top } = w.hub;
  w.hub.top = function (channel) {
    // Between subscribe and look-up; it is delivered after the answer.
    w.hub.top = top;
    w.clock.later(() => w.hub.deliver([...w.hub.sessions.values()][0], [{ channel, data: "meanwhile", id: "e1.1" }]), 0);
    w.hub.publish(channel, "meanwhile", true);
    return top.call(w.hub, channel);
  };
  const heard = [];
  w.make().Fanout.subscribe("a", (data) => heard.push(data), RAW);
  await w.clock.pass(100);
  w.hub.publish("/a", "next");
  await w.clock.pass(10);
  assert.deepEqual(heard, ["meanwhile", "next"]);
});

test("a connection lost right after a subscribe without position is a loss: its beginning is not known", async () => {
  for (const [wait, expected] of [[1000, [undefined]], [6000, []]]) {
    const { hub, clock, heard } = await listen({ poll: 0 });
    await clock.pass(wait);
    hub.cut();
    await clock.pass(5000);
    assert.deepEqual(heard, expected);
  }
});

test("a pattern is told to refetch when its session was forgotten", async () => {
  const { hub, clock, make } = makeWorld();
  let lost = 0;
  make().Fanout.subscribe("a/*", () => {}, { lost: () => lost++ });
  await clock.pass(100);
  const [session] = hub.sessions.values();
  hub.sessions.clear();
  hub.answer(session);
  await clock.pass(2000);
  assert.equal(lost, 1);
});

test("one loss is told once, though a heartbeat and a new epoch both say it", async () => {
  let lost = 0;
  const { hub, clock } = await listen({ lost: () => lost++ });
  hub.publish("/comments-17", 1);
  await clock.pass(1000);
  const [session] = hub.sessions.values();
  hub.forget({ sessions: false });
  session.tops = { lost: ["/comments-17"] };
  hub.answer(session);
  await clock.pass(2000);
  hub.publish("/comments-17", 2);
  await clock.pass(2000);
  assert.equal(lost, 1);
});

test("a hole in the offsets is a loss to who counts on every message, and none to who throttles", async () => {
  for (const [raw, expected] of [[true, 1], [false, 0]]) {
    let lost = 0;
    const { hub, clock } = await listen({ raw, lost: () => lost++ });
    hub.publish("/comments-17", 1);
    hub.publish("/comments-17", 2, true);
    hub.publish("/comments-17", 3);
    await clock.pass(5000);
    assert.equal(lost, expected);
  }
});

test("a hub's lost for a channel reaches the patterns that match it", async () => {
  const { hub, clock, make } = makeWorld();
  let lost = 0;
  make().Fanout.subscribe("a/*", () => {}, { lost: () => lost++ });
  await clock.pass(100);
  const [session] = hub.sessions.values();
  session.tops = { lost: ["/a/b"] };
  hub.answer(session);
  await clock.pass(2000);
  assert.equal(lost, 1);
});

test("a live publication of a new epoch is delivered, and the page told to refetch", async () => {
  let lost = 0;
  const { hub, clock, heard } = await listen({ raw: true, lost: () => lost++ });
  hub.publish("/comments-17", 1);
  await clock.pass(10);
  hub.forget({ sessions: false });
  hub.publish("/comments-17", 2);
  await clock.pass(2000);
  assert.deepEqual([heard, lost], [[1, 2], 1]);
});

test("a hub that says lost on a heartbeat makes the page refetch", async () => {
  let lost = 0;
  const { hub, clock } = await listen({ lost: () => lost++ });
  const [session] = hub.sessions.values();
  session.tops = { lost: ["/comments-17"] };
  hub.answer(session);
  await clock.pass(2000);
  assert.equal(lost, 1);
});

// The ledger's story: the publication after the hole was a place to recover from, so the hub answered
// "recovered", and the page never learned of the hole.
test("a lost is told although the next publication comes before the position is asked anew", async () => {
  for (const raw of [true, false]) {
    let lost = 0;
    const { hub, clock } = await listen({ raw, lost: () => lost++ });
    hub.publish("/comments-17", 1);
    await clock.pass(1000);
    const [session] = hub.sessions.values();
    session.tops = { lost: ["/comments-17"] };
    hub.answer(session);
    await clock.pass(10);
    hub.publish("/comments-17", 2);
    await clock.pass(5000);
    assert.equal(lost, 1);
  }
});

test("a Bayeux server without positions is told apart: after a reconnect the page refetches", async () => {
  const { hub, clock, heard } = await listen({}, ({ hub }) => { hub.positions = false; });
  hub.publish("/comments-17", 1);
  await clock.pass(1000);
  hub.cut();
  await clock.pass(3000);
  assert.deepEqual(heard, [1, undefined]);
});

test("wildcards hear every channel they match", async () => {
  const { hub, clock, make } = makeWorld();
  const { Fanout } = make();
  const heard = [];
  Fanout.subscribe("a/*", (data) => heard.push(["*", data]), RAW);
  Fanout.subscribe("a/**", (data) => heard.push(["**", data]), RAW);
  await clock.pass(100);
  for (const name of ["/a", "/a/b", "/a/b/c", "/b"]) hub.publish(name, name);
  await clock.pass(10);
  assert.deepEqual(heard, [["*", "/a/b"], ["**", "/a/b"], ["**", "/a/b/c"]]);
  assert.ok(hub.seen("/meta/subscribe").every((message) => !message.ext));
});

// The throttle

test("of a burst the first acts at once and the last after the quiet", async () => {
  const { hub, clock, heard } = await listen({});
  for (let n = 1; n <= 50; n++) {
    hub.publish("/comments-17", n);
    await clock.pass(4);
  }
  assert.deepEqual(heard, [1]);
  await clock.pass(300);
  assert.deepEqual(heard, [1, 50]);
  await clock.pass(5000);
  assert.deepEqual(heard, [1, 50]);
});

test("what comes together is acted on once, with the last of it", async () => {
  for (const kind of ["websocket", "long-polling"]) {
    const { hub, clock, heard } = await listen({}, ({ hub }) => { if (kind === "long-polling") hub.sockets = "refuse"; });
    hub.publish("/comments-17", 0);
    await clock.pass(1000);
    hub.down();
    for (let n = 1; n <= 30; n++) hub.publish("/comments-17", n, true);
    hub.up();
    await clock.pass(10_000);
    assert.deepEqual(heard, [0, 30]);
  }
});

test("a steady stream acts every 500 ms, never less", async () => {
  const { hub, clock, heard } = await listen({});
  for (let n = 0; n < 100; n++) {
    hub.publish("/comments-17", n);
    await clock.pass(50);
  }
  assert.ok(heard.length >= 10 && heard.length <= 11, `${heard.length} calls in 5 s`);
});

test("falsy data is data", async () => {
  const { hub, clock, heard } = await listen(RAW);
  for (const data of [null, 0, false, ""]) hub.publish("/comments-17", data);
  await clock.pass(10);
  assert.deepEqual(heard, [null, 0, false, ""]);
});

// Slow poll and hidden pages

test("while the hub is unreachable the callback is called every poll seconds, while it is well every calmPoll", async () => {
  const { hub, clock, heard, Fanout } = await listen({ poll: 10, calmPoll: 300 }, ({ hub }) => hub.down());
  assert.equal(Fanout.status, "unreachable");
  await clock.pass(35_000);
  assert.deepEqual(heard, [undefined, undefined, undefined]);
  hub.up();
  await clock.pass(60_000);
  const before = heard.length;
  await clock.pass(240_000);
  assert.equal(heard.length, before);
  await clock.pass(60_000);
  assert.equal(heard.length, before + 1);
});

test("a refetch that fails is tried again after poll seconds, and its error reported", async () => {
  const w = makeWorld();
  const { Fanout } = w.make();
  let calls = 0;
  Fanout.subscribe("comments-17", async () => {
    if (++calls === 1) throw new Error("offline");
  });
  await w.clock.pass(100);
  w.hub.publish("/comments-17", 1);
  await w.clock.pass(9_000);
  assert.deepEqual([calls, w.errors.length], [1, 1]);
  await w.clock.pass(2_000);
  assert.deepEqual([calls, w.errors.length], [2, 1]);
});

test("a hidden page is left alone, and current within 300 ms when it shows again", async () => {
  const { hub, clock, heard, show } = await listen({ poll: 10, calmPoll: 20 });
  show(false);
  hub.publish("/comments-17", 1);
  hub.publish("/comments-17", 2);
  await clock.pass(600_000);
  assert.deepEqual(heard, []);
  show(true);
  await clock.pass(300);
  assert.deepEqual(heard, [undefined]);
});

test("a page that was hidden for a moment gets the last message", async () => {
  const { hub, clock, heard, show } = await listen({});
  show(false);
  hub.publish("/comments-17", 1);
  hub.publish("/comments-17", 2);
  await clock.pass(1000);
  show(true);
  await clock.pass(300);
  assert.deepEqual(heard, [2]);
});

test("a lost while hidden is not replaced by a later hint", async () => {
  let lost = 0;
  const { hub, clock, heard, show } = await listen({ lost: () => lost++ });
  hub.publish("/comments-17", 0);
  await clock.pass(1000);
  show(false);
  hub.forget({ sessions: false });
  hub.publish("/comments-17", 1);
  await clock.pass(5000);
  hub.publish("/comments-17", 2);
  await clock.pass(5000);
  show(true);
  await clock.pass(300);
  assert.deepEqual([heard, lost], [[0], 1]);
});

test("a page error is reported and disturbs no other callback", async () => {
  const { hub, clock, errors, make } = makeWorld();
  const { Fanout } = make();
  const heard = [];
  Fanout.subscribe("a", () => { throw new Error("the page's"); });
  Fanout.subscribe("a", (data) => heard.push(data));
  await clock.pass(100);
  hub.publish("/a", 1);
  await clock.pass(10);
  assert.deepEqual(heard, [1]);
  assert.deepEqual(errors.map((error) => error.message), ["the page's"]);
});

// Ends

test("cancel unsubscribes; the last one says goodbye, and a later subscribe connects again", async () => {
  const { hub, clock, Fanout, watch, heard } = await listen({});
  const other = Fanout.subscribe("events", () => {});
  await clock.pass(10);
  watch.cancel();
  watch.cancel();
  await clock.pass(10);
  assert.deepEqual(hub.seen("/meta/unsubscribe").map((message) => message.subscription), ["/comments-17"]);
  other.cancel();
  await clock.pass(600_000);
  assert.equal(Fanout.status, "idle");
  assert.equal(hub.open.size, 0);
  Fanout.subscribe("comments-17", (data) => heard.push(data));
  await clock.pass(100);
  hub.publish("/comments-17", 1);
  await clock.pass(10);
  assert.deepEqual(heard, [1]);
});

for (const [kind, prepare] of TRANSPORTS) {
  test(`${kind}: a page that goes says goodbye; back from the cache it catches up`, async () => {
    const { hub, clock, heard, world } = await listen(RAW, prepare);
    hub.publish("/comments-17", 1);
    await clock.pass(10);
    world.page.fire("pagehide");
    await clock.pass(60_000);
    assert.equal(hub.sessions.size, 0);
    hub.publish("/comments-17", 2);
    world.page.fire("pageshow");
    await clock.pass(100);
    assert.deepEqual(heard, [1, 2]);
  });
}

test("a refused channel is reported, and does not take the others with it", async () => {
  const { hub, clock, errors, make } = makeWorld();
  hub.refused.set("/private", "403:/private:Forbidden channel");
  const { Fanout } = make();
  const heard = [];
  Fanout.subscribe("private", () => {});
  Fanout.subscribe("events", (data) => heard.push(data));
  await clock.pass(100);
  hub.publish("/events", true);
  await clock.pass(10);
  assert.deepEqual(heard, [true]);
  assert.match(errors[0].message, /private.*403/);
});

test("bad arguments are told at once", () => {
  const { Fanout } = makeWorld().make();
  assert.throws(() => Fanout.subscribe("", () => {}), TypeError);
  assert.throws(() => Fanout.subscribe(17, () => {}), TypeError);
  assert.throws(() => Fanout.subscribe("a"), TypeError);
  assert.throws(() => Fanout.configure({ uri: "/x" }), /Unrecognized option: uri/);
});

test("configure names the hub, until something is subscribed", async () => {
  const { make, clock, hub } = makeWorld();
  const { Fanout } = make();
  Fanout.configure({ url: "https://hub.test/bayeux" });
  Fanout.subscribe("a", () => {});
  await clock.pass(10);
  assert.deepEqual([...hub.open].map((socket) => socket.url), ["wss://hub.test/bayeux"]);
  assert.throws(() => Fanout.configure({ url: "/other" }), /before the first/);
});

test("a page's token is shown with handshakes and subscribes, and a newer one takes its place", async () => {
  const { make, clock, hub } = makeWorld();
  const { Fanout } = make();
  const shown = (channel) => hub.seen(channel).map(({ ext }) => ext && ext.token);
  Fanout.configure({ token: "first" });
  Fanout.subscribe("private-1", () => {}, { position: "" });
  await clock.pass(100);
  Fanout.configure({ token: "second" });
  Fanout.subscribe("private-2", () => {});
  await clock.pass(100);
  assert.deepEqual([shown("/meta/handshake"), shown("/meta/subscribe")], [["first"], ["first", "second"]]);
  assert.deepEqual(hub.seen("/meta/subscribe")[0].ext, { position: { "/private-1": null }, token: "first" });
  assert.deepEqual([...new Set(shown("/meta/connect"))], [undefined]);
});

test("a function is asked for a token once a moment, and for a fresh one when the hub forgot the session", async () => {
  const { make, clock, hub } = makeWorld();
  const { Fanout } = make();
  let asked = 0;
  Fanout.configure({ token: async () => `token ${++asked}` });
  const heard = [];
  for (const name of ["private-1", "private-2"]) Fanout.subscribe(name, (data) => heard.push(data));
  await clock.pass(100);
  const shown = (channel) => hub.seen(channel).map(({ ext }) => ext.token);
  assert.deepEqual([shown("/meta/handshake"), shown("/meta/subscribe")], [["token 1"], ["token 2", "token 2"]]);
  hub.forget();
  hub.cut();
  await clock.pass(5000);
  assert.equal(shown("/meta/handshake").length, 2);
  hub.publish("/private-1", "again");
  await clock.pass(600);
  assert.equal(heard.at(-1), "again");
});

for (const [what, broken] of [
  ["fails", () => Promise.reject(new Error("no session"))],
  ["throws", () => { throw new Error("no session"); }],
  ["never answers", () => new Promise(() => {})],
]) {
  test(`a token that ${what} is an error of the page, and asked for again`, async () => {
    const { make, clock, hub, errors } = makeWorld();
    const { Fanout } = make();
    let token = broken;
    Fanout.configure({ token: () => token() });
    const heard = [];
    Fanout.subscribe("private-1", (data) => heard.push(data), { poll: 0 });
    await clock.pass(11_000);
    assert.equal(hub.seen("/meta/handshake").length, 0);
    assert.match(errors[0].message, /no session|no token after 10 s/);
    token = () => "good";
    await clock.pass(60_000);
    hub.publish("/private-1", "heard");
    await clock.pass(10);
    assert.equal(heard.at(-1), "heard");
    assert.equal(hub.seen("/meta/subscribe").at(-1).ext.token, "good");
  });
}

test("a handshake refused for its token is an error of the page, and tried again with the next", async () => {
  const { make, clock, hub, errors } = makeWorld();
  const { Fanout } = make();
  hub.accepts = (token) => token === "new";
  Fanout.configure({ token: "expired" });
  Fanout.subscribe("private-1", () => {});
  await clock.pass(1000);
  assert.match(errors[0].message, /handshake refused: 401::Token expired/);
  Fanout.configure({ token: "new" });
  await clock.pass(60_000);
  assert.match(Fanout.status, /websocket|long-polling/);
});

test("a fanout-config element of an old page names the hub", async () => {
  const { world, make, clock, hub } = makeWorld();
  world.document.querySelector = () => ({ getAttribute: () => "https://realm.test/bayeux" });
  make().Fanout.subscribe("a", () => {});
  await clock.pass(10);
  assert.deepEqual([...hub.open].map((socket) => socket.url), ["wss://realm.test/bayeux"]);
});
