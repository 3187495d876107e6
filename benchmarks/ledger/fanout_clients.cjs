// fanout.js clients for the ledger: `node fanout_clients.cjs <url> <channel,channel,…> <count>`.
// In (JSON lines): {"state": {channel: newest}} answers {"fetch": channel, "who": n}.
// Out: {"got": [who, number]} {"fetch": channel, "who": n} {"ready": true}
"use strict";
const path = require("node:path");
const readline = require("node:readline");
const { Fanout } = require(path.join(__dirname, "../../static/fanout.js"));
const { Client } = require("faye-websocket");
const [url, channels, count, positions] = process.argv.slice(2);
const names = channels.split(",");
const start = JSON.parse(positions);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const pending = new Map();

for (let who = 0; who < Number(count); who += 1) {
  const channel = names[who % names.length];
  // Every third one has no WebSocket, and polls.
  const WebSocket = who % 3 === 2 ? undefined : Client;
  const made = Fanout.make({ WebSocket, storage: null, page: {}, document: undefined, url: url + "/bayeux" });
  made.Fanout.subscribe(channel, (data) => say({ got: [who, data.n] }), {
    raw: true,
    poll: 0,
    position: start[channel],
    lost: () => {
      say({ fetch: channel, who });
    },
  });
}
say({ ready: true });
readline.createInterface({ input: process.stdin }).on("close", () => process.exit(0));
