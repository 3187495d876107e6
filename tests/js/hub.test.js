/* The client against the real hub, over real sockets and polls, through a proxy that can misbehave. */
"use strict";

const { describe, test } = require("node:test");
const assert = require("node:assert/strict");
const net = require("node:net");
const { HubServer, make, missing, until } = require("./servers.js");

const absent = missing("faye-websocket") || missing("hub");
const SECONDS = { skip: absent, timeout: 240_000 };

/** A TCP proxy before the hub: `cut` ends its connections, `open = false` refuses new ones, `stall` keeps
 * them open and carries nothing, as a network does that went away without a word. */
class Proxy {
  constructor(port) {
    this.port = port;
    this.open = true;
    this.pairs = new Set();
    this.made = 0;
  }

  async start() {
    this.server = net.createServer((near) => {
      if (!this.open) return near.destroy();
      this.made += 1;
      const far = net.connect(this.port, "127.0.0.1");
      const pair = [near, far];
      this.pairs.add(pair);
      const end = () => {
        this.pairs.delete(pair);
        near.destroy();
        far.destroy();
      };
      for (const socket of pair) socket.on("error", end).on("close", end);
      near.on("data", (data) => { if (!pair.stalled) far.write(data); });
      far.on("data", (data) => { if (!pair.stalled) near.write(data); });
    });
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/bayeux`;
    return this;
  }

  cut() {
    for (const [near, far] of this.pairs) {
      near.destroy();
      far.destroy();
    }
  }

  stall() {
    for (const pair of this.pairs) pair.stalled = true;
  }

  async end() {
    this.open = false;
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Run `work` with a hub, a proxy before it, a publisher that goes round the proxy, and a client maker. */
async function withHub(work) {
  const hub = await new HubServer().start();
  const proxy = await new Proxy(hub.port).start();
  const publisher = new (make().Faye.Client)(hub.url, { retry: 0.3 });
  const clients = [];
  const client = (given) => {
    const made = make({ url: proxy.url, ...given });
    clients.push(made.Fanout);
    return made.Fanout;
  };
  const watches = [];
  const listen = async (given, options = {}) => {
    const Fanout = client(given);
    const heard = [];
    const watch = Fanout.subscribe("chat/a", (data) => heard.push(data), { raw: true, poll: 0, ...options });
    watches.push(watch);
    await until(() => /websocket|long-polling/.test(Fanout.status), "connected");
    return { Fanout, heard, watch };
  };
  try {
    await work({ hub, proxy, publish: (data) => publisher.publish("/chat/a", data), listen });
  } finally {
    for (const watch of watches) watch.cancel();
    await publisher.disconnect();
    await proxy.end();
    await hub.end();
  }
}

const KINDS = [["websocket", {}], ["long-polling", { WebSocket: undefined }]];

// They wait more than they work.
describe("the client and the hub", { concurrency: 4 }, () => {
  for (const [kind, given] of KINDS) {
    test(`${kind}: publications arrive in order, through any number of cuts, each once`, SECONDS, () => withHub(async ({ proxy, publish, listen }) => {
      const { heard, Fanout } = await listen(given);
      assert.equal(Fanout.status, kind);
      const all = [];
      for (let round = 0; round < 5; round++) {
        for (let n = 0; n < 20; n++) {
          all.push(all.length);
          await publish(all.length - 1);
          // In the midst of deliveries, where what was written is lost.
          if (n === 7) proxy.cut();
        }
        await until(() => heard.length >= all.length, `round ${round}`);
      }
      assert.deepEqual(heard, all);
    }));

    test(`${kind}: what came while nothing could get through is recovered when it can`, SECONDS, () => withHub(async ({ proxy, publish, listen }) => {
      const { heard } = await listen(given);
      await publish(0);
      await until(() => heard.length === 1, "the first");
      proxy.open = false;
      proxy.cut();
      for (let n = 1; n <= 30; n++) await publish(n);
      assert.deepEqual(heard, [0]);
      proxy.open = true;
      await until(() => heard.length >= 31, "recovery", 40);
      assert.deepEqual(heard, Array.from({ length: 31 }, (_, n) => n));
    }));

    test(`${kind}: a connection that went silent is found, and nothing is missed`, SECONDS, () => withHub(async ({ proxy, publish, listen }) => {
      const { heard } = await listen(given);
      await publish(0);
      await until(() => heard.length === 1, "the first");
      proxy.stall();
      await publish(1);
      await publish(2);
      // A connect is held for 5 s here, and overdue after 10.
      await until(() => heard.length >= 3, "found", 30);
      assert.deepEqual(heard, [0, 1, 2]);
    }));

    test(`${kind}: a page that wakes on a connection that went silent is current at once`, SECONDS, () => withHub(async ({ proxy, publish, listen }) => {
      const page = new EventTarget();
      const { heard, Fanout } = await listen({ ...given, page });
      await publish(0);
      await until(() => heard.length === 1, "the first");
      const { made } = proxy;
      page.dispatchEvent(new Event("online"));
      await until(() => Fanout.status === kind, "asked, and answered");
      if (kind === "websocket") assert.equal(proxy.made, made, "a connection that lives is kept");
      proxy.stall();
      await publish(1);
      page.dispatchEvent(new Event("online"));
      // Without the question it is found by what is overdue, after 10 s.
      const asked = Date.now();
      await until(() => heard.length >= 2, "current", 60);
      assert.deepEqual(heard, [0, 1]);
      assert.ok(Date.now() - asked < 9000, `after ${Date.now() - asked} ms`);
    }));

    test(`${kind}: a hub that restarts without its history makes the page refetch once, and goes on`, SECONDS, () => withHub(async ({ hub, publish, listen }) => {
      let lost = 0;
      const { heard } = await listen(given, { lost: () => lost++ });
      await publish(0);
      await until(() => heard.length === 1, "the first");
      await hub.stop();
      await hub.start();
      await until(() => lost > 0, "told lost", 40);
      await publish(1);
      await until(() => heard.length === 2, "after the restart");
      assert.deepEqual([heard, lost], [[0, 1], 1]);
    }));

    test(`${kind}: a position of the page recovers, a foreign one is lost`, SECONDS, () => withHub(async ({ publish, listen }) => {
      const first = await listen(given);
      await publish("before the page");
      await until(() => first.heard.length === 1, "the first");
      const position = first.watch.position;
      await publish("after the page");
      const page = await listen(given, { position });
      await until(() => page.heard.length === 1, "recovered");
      assert.deepEqual(page.heard, ["after the page"]);
      let lost = 0;
      const stranger = await listen(given, { position: "zz9.4", lost: () => lost++ });
      await until(() => lost > 0, "told lost");
      await publish("live");
      await until(() => stranger.heard.length === 1, "live");
      assert.deepEqual([stranger.heard, lost], [["live"], 1]);
    }));
  }

  test("a network that refuses WebSockets is polled through", SECONDS, () => withHub(async ({ publish, listen }) => {
    const { Client } = require("faye-websocket");
    // To a port where nothing listens, as a firewall that resets what it doesn't know.
    const { heard, Fanout } = await listen({ WebSocket: function (url) { return new Client(url.replace(/:\d+/, ":9")); } });
    assert.equal(Fanout.status, "long-polling");
    await publish(1);
    await until(() => heard.length === 1, "polled");
  }));

  test("a page is told who is there, by the hub too", SECONDS, async () => {
    const hub = await new HubServer({ rules: '[[rule]]\nchannels = ["rooms/*"]\npresence = "open"\n' }).start();
    const { Fanout } = make({ url: hub.url });
    const other = make({ url: hub.url }).Fanout;
    const heard = [];
    const here = Fanout.presence("rooms/1", ({ count }) => heard.push(count));
    try {
      await until(() => heard.length, "the state", 30);
      const visitor = other.subscribe("rooms/1", () => {});
      await until(() => heard.at(-1) === 1, "the visitor came", 30);
      visitor.cancel();
      await until(() => heard.at(-1) === 0, "the visitor went", 30);
      assert.deepEqual(heard, [0, 1, 0]);
    } finally {
      here.cancel();
      await hub.end();
    }
  });

  test("a page's token opens its channel, and the next one keeps it open", SECONDS, async () => {
    const hub = await new HubServer().start();
    const { Fanout } = make({ url: hub.url });
    let asked = 0;
    let lost = 0;
    // Those of the handshake and the subscribe are good for three seconds: thirty are allowed for clocks that differ.
    const token = () => hub.sign(++asked > 2 ? 600 : -27, { channels: ["private-7"] });
    Fanout.configure({ token });
    const heard = [];
    const watch = Fanout.subscribe("private-7", (data) => heard.push(data), { raw: true, poll: 0, position: "", lost: () => lost++ });
    try {
      await until(() => lost, "subscribed, and told that its beginning is unknown");
      await until(() => asked > 3, "greeted anew, and subscribed, after the token expired", 60);
      await hub.publish("private-7", "heard by the next token");
      await until(() => heard.length, "heard");
      assert.deepEqual(heard, ["heard by the next token"]);
      // A position that was looked up less than five seconds before the token expired isn't sure yet: the page is told
      // again, at any time within two seconds.
      assert.ok(lost === 1 || lost === 2, `lost ${lost} times`);
    } finally {
      watch.cancel();
      await hub.end();
    }
  });
});
