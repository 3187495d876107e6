// One unmodified client library, driven by JSON lines: `node client.cjs <library> <options as JSON>`.
//
// In and out: the orders and events of libraries.mjs, as {"do": "subscribe", "channel": …} and {"event": "message", …}.
"use strict";
const readline = require("node:readline");
const [library, given] = process.argv.slice(2);
const options = JSON.parse(given);
const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n");

async function start() {
  const { withCometd, withFaye } = await import("./libraries.mjs");
  if (library === "cometd") {
    require("cometd-nodejs-client").adapt();
    return withCometd(await import("cometd"), options, say);
  }
  // Faye shakes hands by long-polling whatever it upgrades to.
  const { transport, ...rest } = options;
  return withFaye(require(library), { ...rest, disable: transport === "long-polling" ? ["websocket"] : [] }, say);
}

start().then(async (client) => {
  say("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    client[order.do](order);
  }
  process.exit(0);
});
