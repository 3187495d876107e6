/* A word now and then that a publication has come, for a hub that asks for it. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld } = require("./world.js");

async function connected(seen, random = 0) {
  const w = makeWorld();
  w.world.random = () => random;
  const take = w.hub.take.bind(w.hub);
  w.said = [];
  w.hub.take = (messages, answer, ...rest) => take(messages, (replies) => {
    for (const reply of replies) if (reply.channel === "/meta/handshake" && seen !== undefined) reply.ext = { replay: true, seen };
    for (const message of messages) if (message.channel === "/service/seen") w.said.push(message);
    answer(replies);
  }, ...rest);
  const { Fanout } = w.make();
  w.heard = [];
  Fanout.subscribe("a", (data) => w.heard.push(data), { raw: true, poll: 0, calmPoll: 0 });
  await w.clock.pass(100);
  return w;
}

test("it says which publication has come, after its listeners had it, and not more than once in half a minute", async () => {
  const { hub, clock, heard, said } = await connected(100);
  hub.publish("/a", 1);
  hub.publish("/a", 2);
  await clock.pass(100);
  assert.deepEqual(heard, [1, 2]);
  assert.equal(said.length, 1);
  assert.equal(said[0].data[0], "/a");
  assert.match(said[0].data[1], /^[a-z0-9]+\.1$/);
  await clock.pass(31_000);
  hub.publish("/a", 3);
  await clock.pass(100);
  assert.equal(said.length, 2);
});

test("of so many it picks one by chance", async () => {
  const { hub, clock, heard, said } = await connected(100, 0.5);
  for (let n = 0; n < 20; n++) hub.publish("/a", n);
  await clock.pass(1000);
  assert.equal(heard.length, 20);
  assert.equal(said.length, 0);
});

for (const seen of [undefined, 0, "x", null]) {
  test(`a hub that asks for nothing (${seen}) is told nothing`, async () => {
    const { hub, clock, heard, said } = await connected(seen);
    hub.publish("/a", 1);
    await clock.pass(1000);
    assert.deepEqual(heard, [1]);
    assert.equal(said.length, 0);
  });
}
