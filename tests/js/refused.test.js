/* A page whose hub does not answer: what its builder is told, in the console and by Fanout.reason. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { makeWorld } = require("./world.js");
const { HubServer, make, missing, until } = require("./servers.js");

function failing(polls, text) {
  const w = makeWorld();
  const warnings = [];
  w.hub.sockets = "refuse";
  w.hub.polls = polls;
  w.world.warn = (words) => warnings.push(words);
  if (text) w.world.fetch = async () => ({ status: polls, ok: false, text: async () => text });
  const { Fanout } = w.make();
  Fanout.subscribe("comments-17", () => {});
  return { ...w, Fanout, warnings };
}

test("a refused origin is said with the setting that lets it in, once", async () => {
  // Before, the console said that a WebSocket had failed, and the page that the hub was unreachable, for ever.
  const { Fanout, warnings, clock } = failing(403, "Origin not allowed. Add it to HUB_ORIGINS.\n");
  assert.equal(Fanout.reason, "");
  await clock.pass(300_000);
  const reason = "the hub at http://site.test/bayeux refuses pages from http://site.test. Origin not allowed. Add it to HUB_ORIGINS.";
  assert.equal(Fanout.status, "unreachable");
  assert.equal(Fanout.reason, reason);
  assert.deepEqual(warnings, ["Fanout: " + reason]);
});

test("what answers and is no hub is named by its status", async () => {
  const { Fanout, warnings, clock } = failing(403, "<html>Forbidden by the office's proxy");
  await clock.pass(60_000);
  assert.equal(Fanout.reason, "no hub answers at http://site.test/bayeux from http://site.test: status 403");
  assert.equal(warnings.length, 1);
});

test("a hub that does not run is said so, and no more once it does", async () => {
  const { Fanout, warnings, clock, hub } = failing("refuse");
  await clock.pass(60_000);
  assert.equal(Fanout.reason, "no hub answers at http://site.test/bayeux from http://site.test");
  hub.polls = hub.sockets = "accept";
  await clock.pass(120_000);
  assert.match(Fanout.status, /websocket|long-polling/);
  assert.equal(Fanout.reason, "");
  hub.polls = hub.sockets = "refuse";
  await clock.pass(600_000);
  // What was well before is out of order now, and nobody has to change the page.
  assert.equal(warnings.length, 1);
});

test("a real hub's refusal is what the page says", { skip: missing("faye-websocket") || missing("hub"), timeout: 240_000 }, async () => {
  const server = await new HubServer().start();
  const warnings = [];
  const location = new URL("http://pages.test/article");
  // Node sends no Origin by itself.
  const headers = { Origin: location.origin };
  const fetched = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } });
  const { Client } = require("faye-websocket");
  class Socket extends Client { constructor(url) { super(url, [], { headers }); } }
  const { Fanout } = make({ fetch: fetched, WebSocket: Socket, page: { location }, warn: (text) => warnings.push(text) });
  Fanout.configure({ url: server.url });
  const watch = Fanout.subscribe("comments-17", () => {});
  try {
    await until(() => Fanout.reason, "a reason");
    assert.match(Fanout.reason, /refuses pages from http:\/\/pages\.test\. Origin not allowed\. Add it to HUB_ORIGINS\.$/);
    assert.equal(warnings.length, 1);
  } finally {
    watch.cancel();
    await server.end();
  }
});
