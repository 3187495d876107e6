/* One script, run with npm's faye and with ours, on Faye's server and on the hub: the same things happen. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const { once } = require("node:events");
const { EventEmitter } = require("node:events");
const { HubServer, FayeServer, make, missing } = require("./servers.js");

/** What a page might do with Faye, and what it sees, line by line. */
async function script(Faye, url, transport) {
  const seen = [];
  const news = new EventEmitter();
  const note = (...facts) => {
    seen.push(JSON.stringify(facts));
    news.emit("note");
  };
  const noted = async (count) => {
    while (seen.length < count) await once(news, "note");
  };

  const client = new Faye.Client(url, { timeout: 10, retry: 1 });
  if (transport === "long-polling") client.disable("websocket");
  client.once("transport:up", () => note("up"));
  client.addExtension({
    outgoing(message, callback) {
      if (message.channel === "/chat/marked") message.data.mark = true;
      callback(message);
    },
  });

  note("disconnected before connecting", client.disconnect());
  const page = { name: "page" };
  const one = client.subscribe("/chat/one", function (data) { note("one", this.name, data); }, page);
  const thenValue = await one.then((value) => ["then", value]);
  note(...thenValue);
  const [, wild] = client.subscribe(["/chat/two", "/chat/*"], (data) => note("two or wild", data));
  await wild.then();
  wild.withChannel((channel, data) => note("wild", channel, data));

  let count = seen.length;
  await client.publish("/chat/one", { text: "hello", zero: 0, none: null });
  note("published");
  await noted(count + 4);
  seen.splice(count, 4, ...seen.slice(count).sort());

  count = seen.length;
  await client.publish("/chat/marked", { text: "x" });
  await noted(count + 2);

  const again = client.subscribe("/chat/one", () => note("never"));
  await again;
  again.cancel();
  again.cancel();
  one.cancel();
  client.unsubscribe("/chat/two");

  count = seen.length;
  await client.publish("/chat/one", "after cancel");
  await noted(count + 2);

  for (const data of [0, false, "", [], "ünïcödé \u2028 😀"]) {
    count = seen.length;
    await client.publish("/chat/data", data);
    await noted(count + 2);
  }

  await client.subscribe("/no", () => {}).then(
    () => note("never"),
    (error) => note("refused", error.code, error.params, error.message, Object.keys(error).length >= 3),
  );
  await client.subscribe("no slash", () => {}).then(() => note("never"), (error) => note("invalid", error.code));
  await client.publish("/chat/*", 1).then(() => note("never"), (error) => note("invalid", error.code));

  try {
    client.publish("/chat/one", 1, { tries: 1 });
  } catch (error) {
    note(error.message);
  }
  note("catch" in one, typeof one.then, typeof one.callback, typeof one.errback, typeof one.timeout);

  const gone = client.disconnect();
  await gone.then(() => note("disconnected"));
  return seen;
}

const absent = missing("faye") || missing("faye-websocket");

for (const transport of ["websocket", "long-polling"]) {
  test(`${transport}, on Faye's server: npm faye and ours see the same`, { skip: absent, timeout: 240_000 }, async () => {
    const server = await new FayeServer().start();
    try {
      const theirs = await script(require("faye"), server.url, transport);
      const ours = await script(make().Faye, server.url, transport);
      assert.ok(theirs.length > 20);
      assert.deepEqual(ours, theirs);
    } finally {
      await server.end();
    }
  });

  test(`${transport}, on the hub: npm faye and ours see the same`, { skip: absent || missing("hub"), timeout: 240_000 }, async () => {
    const server = await new HubServer().start();
    // The hub has no channel /no; a name its grammar refuses stands in for it.
    try {
      const theirs = await script(forbidding(require("faye")), server.url, transport);
      const ours = await script(forbidding(make().Faye), server.url, transport);
      assert.ok(theirs.length > 20);
      assert.deepEqual(ours, theirs);
    } finally {
      await server.end();
    }
  });
}

/** The same library, whose clients ask for a meta channel where the script says /no: any hub forbids that. */
function forbidding(Faye) {
  class Client extends Faye.Client {
    subscribe(channel, ...rest) {
      return super.subscribe(channel === "/no" ? "/meta/no" : channel, ...rest);
    }
  }
  return { ...Faye, Client };
}

test("every method and constant that pages use on npm faye's client is on ours", { skip: absent }, () => {
  const theirs = require("faye").Client.prototype;
  const ours = make().Faye.Client.prototype;
  const names = [];
  for (const name in theirs) if (!name.startsWith("_")) names.push(name);
  // Faye's own insides: sending through extensions, log plumbing, the words of advice.
  const inner = ["pipeThroughExtensions", "writeLog", "LOG_LEVELS", "HANDSHAKE", "RETRY", "NONE", "CONNECTION_TIMEOUT",
    "DEFAULT_ENDPOINT", "INTERVAL", "initialize", "className", "constructor"];
  const lacking = names.filter((name) => !inner.includes(name) && !(name in ours));
  assert.deepEqual(lacking, []);
  for (const name of ["UNCONNECTED", "CONNECTING", "CONNECTED", "DISCONNECTED"]) assert.equal(ours[name], theirs[name]);
});
