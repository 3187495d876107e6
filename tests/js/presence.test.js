/* Fanout.presence: the state, and every change after it, whatever arrives first. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld } = require("./world.js");

const EVENTS = "/presence/rooms/1";

/** A page that asks who is in rooms/1. `heard` is what its callback got; `answers` are taken one a request. */
async function ask(answers, options = {}, channel = "rooms/1") {
  const w = makeWorld();
  const asked = [];
  const heard = [];
  const { fetch } = w.world;
  w.world.fetch = async (url, init) => {
    if (!url.includes("/presence?")) return fetch(url, init);
    asked.push(url);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    const state = await (typeof answer === "function" ? answer(w.hub) : answer);
    return { ok: state !== 503, status: 503, json: async () => state };
  };
  const { Fanout } = w.make();
  Fanout.configure(options);
  const watch = Fanout.presence(channel, (here) => heard.push([here.users.join(), here.count]));
  await w.clock.pass(100);
  return { ...w, Fanout, watch, asked, heard };
}

const state = (hub, count, ...users) => ({ count, users: users.map((user) => ({ user })), position: hub.top(EVENTS) });
const change = (joined, left, count) => ({ joined, left, users: 0, count });

test("the page is told who is there and who comes and goes", async () => {
  const { asked, heard, hub, clock, watch, Fanout } = await ask([(at) => state(at, 3, "alice", "bob")]);
  assert.match(asked[0], /\/presence\?channel=rooms%2F1$/);
  hub.publish(EVENTS, change(["carol"], ["alice"], 4));
  await clock.pass(100);
  hub.publish(EVENTS, change([], [], 5));
  await clock.pass(100);
  assert.deepEqual(heard, [["alice,bob", 3], ["bob,carol", 4], ["bob,carol", 5]]);
  watch.cancel();
  await clock.pass(100);
  assert.equal(Fanout.status, "idle");
  assert.equal(asked.length, 1);
});

test("a channel that begins with two slashes is asked for by its own name", async () => {
  const { asked } = await ask([(at) => state(at, 1, "alice")], {}, "//rooms/1");
  assert.match(asked[0], /\/presence\?channel=%2F%2Frooms%2F1$/);
});

test("a page that has a token shows it for the state too", async () => {
  const { asked } = await ask([(at) => state(at, 1, "alice")], { token: async () => "a+b" });
  assert.match(asked[0], /\/presence\?channel=rooms%2F1&token=a%2Bb$/);
});

test("what changes between the state and the subscription is recovered", async () => {
  const { heard } = await ask([(hub) => {
    const found = state(hub, 1, "alice");
    hub.publish(EVENTS, change(["bob"], [], 2));
    return found;
  }]);
  assert.deepEqual(heard, [["alice", 1], ["alice,bob", 2]]);
});

test("a state that can't be had is asked for again, and the error is the page's", async () => {
  const { heard, asked, clock, errors } = await ask([503, (hub) => state(hub, 1, "alice")]);
  assert.equal(errors.length, 1);
  assert.match(errors[0].message, /presence of rooms\/1: 503/);
  await clock.pass(12_000);
  assert.deepEqual(heard, [["alice", 1]]);
  assert.equal(asked.length, 2);
});

test("after a loss the state is loaded anew, and what comes meanwhile is not lost to it", async () => {
  let release;
  const slow = (hub) => new Promise((resolve) => {
    hub.publish(EVENTS, change(["bob"], [], 2));
    const found = state(hub, 2, "bob", "carol");
    hub.publish(EVENTS, change(["dora"], ["carol"], 2));
    release = () => resolve(found);
  });
  const { heard, hub, clock, asked } = await ask([(at) => state(at, 1, "alice"), slow]);
  hub.forget();
  hub.cut();
  await clock.pass(20_000);
  assert.equal(asked.length, 2);
  release();
  await clock.pass(100);
  assert.deepEqual(heard, [["alice", 1], ["bob,dora", 2]]);
});

test("a page that has left is not called", async () => {
  let release;
  const { heard, watch, clock, hub, Fanout } = await ask([() => new Promise((resolve) => { release = resolve; })]);
  watch.cancel();
  release(state(hub, 1, "alice"));
  await clock.pass(20_000);
  assert.deepEqual(heard, []);
  assert.equal(Fanout.status, "idle");
});
