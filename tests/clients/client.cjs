// One unmodified client library, driven by JSON lines: `node client.cjs <library> <url> <transport>`.
//
// In:  {"do": "subscribe" | "unsubscribe", "channel"} {"do": "publish", "channel", "data"} {"do": "disconnect"}
//      cometd also: {"do": "call", "target", "data"} {"do": "clock"}
// Out: {"event": "up" | "down" | "subscribed" | "message" | "published" | "refused" | "disconnected", …}
"use strict";
const readline = require("node:readline");
const [library, url, transport] = process.argv.slice(2);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n");

function withFaye(name) {
  const faye = require(name);
  const client = new faye.Client(url, { timeout: 10, retry: 0.2 });
  // Faye shakes hands by long-polling whatever it upgrades to.
  if (transport === "long-polling") client.disable("websocket");
  client.on("transport:up", () => say("up"));
  client.on("transport:down", () => say("down"));
  const subscriptions = new Map();
  return {
    subscribe({ channel }) {
      // 1.1.2 tells only the data.
      const subscription = name === "faye-1.1.2"
        ? client.subscribe(channel, (data) => say("message", { data }))
        : client.subscribe(channel).withChannel((from, data) => say("message", { channel: from, data }));
      subscriptions.set(channel, subscription);
      subscription.then(
        () => say("subscribed", { channel }),
        (error) => say("refused", { channel, code: error.code, text: error.message }),
      );
    },
    unsubscribe({ channel }) {
      subscriptions.get(channel).cancel();
      say("unsubscribed", { channel });
    },
    publish({ channel, data }) {
      client.publish(channel, data).then(
        () => say("published", { channel }),
        (error) => say("refused", { channel, code: error.code, text: error.message }),
      );
    },
    disconnect() {
      client.disconnect();
      say("disconnected");
    },
  };
}

async function withCometd() {
  require("cometd-nodejs-client").adapt();
  const { CometD } = await import("cometd");
  const cometd = new CometD();
  for (const type of ["websocket", "long-polling", "callback-polling"]) if (type !== transport) cometd.unregisterTransport(type);
  if (process.env.COMETD_ACK) {
    const { AckExtension } = await import("cometd/AckExtension.js");
    cometd.registerExtension("ack", new AckExtension());
  }
  let clock = null;
  if (process.env.COMETD_TIMESYNC) {
    const { TimeSyncExtension } = await import("cometd/TimeSyncExtension.js");
    clock = new TimeSyncExtension();
    cometd.registerExtension("timesync", clock);
  }
  cometd.configure({ url, logLevel: "error", backoffIncrement: 200, maxNetworkDelay: 5000 });
  const wanted = new Map();
  const handles = new Map();
  const listen = (channel) =>
    handles.set(
      channel,
      cometd.subscribe(
        channel,
        (message) => say("message", { channel: message.channel, data: message.data }),
        (reply) => (reply.successful ? say("subscribed", { channel }) : say("refused", { channel, text: reply.error })),
      ),
    );
  let up = false;
  let shaken = false;
  cometd.addListener("/meta/handshake", (reply) => {
    shaken = reply.successful;
    if (shaken) for (const channel of wanted.keys()) listen(channel);
  });
  cometd.addListener("/meta/connect", (reply) => {
    if (reply.successful !== up) say((up = reply.successful) ? "up" : "down");
  });
  cometd.handshake();
  return {
    subscribe({ channel }) {
      wanted.set(channel, true);
      if (shaken) listen(channel);
    },
    unsubscribe({ channel }) {
      wanted.delete(channel);
      cometd.unsubscribe(handles.get(channel), () => say("unsubscribed", { channel }));
    },
    publish({ channel, data }) {
      cometd.publish(channel, data, (reply) =>
        reply.successful ? say("published", { channel }) : say("refused", { channel, text: reply.error }),
      );
    },
    call({ target, data }) {
      cometd.remoteCall(target, data, 5000, (reply) => say("answered", { data: reply.data, error: reply.error }));
    },
    clock() {
      say("clock", { offset: clock.getTimeOffset(), lag: clock.getNetworkLag() });
    },
    disconnect() {
      cometd.disconnect(() => say("disconnected"));
    },
  };
}

(async () => {
  const client = library === "cometd" ? await withCometd() : withFaye(library);
  say("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    client[order.do](order);
  }
  process.exit(0);
})();
