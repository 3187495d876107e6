// Many visits in one process: `node node.mjs <library> <options as JSON>`, each request on a connection of its own.
// Out: {"publish": [channels, data], "call": n} and {"visit": what came of one} and {"thrown": text}, a JSON object a line.
// In: {"done": n}, the call that has been published.
import http from "node:http";
import { createRequire, syncBuiltinESMExports } from "node:module";
import path from "node:path";
import readline from "node:readline";
import { visit } from "./visit.mjs";

const [library, given] = process.argv.slice(2);
const { modules, names, atOnce, ...options } = JSON.parse(given);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
process.on("uncaughtException", (error) => say({ thrown: String(error && error.stack) }));
process.on("unhandledRejection", (error) => say({ thrown: String(error && error.stack) }));

// The clients would keep their connections, and stay with the workers that these have reached.
const { Agent } = http;
http.Agent = class extends Agent {
  constructor(wanted) {
    super({ ...wanted, keepAlive: false });
  }
};
http.globalAgent = new http.Agent();
syncBuiltinESMExports();

const require = createRequire(path.join(modules, "/"));
let code;
if (library === "cometd") {
  require("cometd-nodejs-client").adapt();
  code = await import(path.join(modules, "cometd/cometd.js"));
} else {
  code = require("faye");
}
const waiting = new Map();
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { done } = JSON.parse(line);
  waiting.get(done)();
  waiting.delete(done);
});
const publish = (channels, data) =>
  new Promise((resolve) => {
    const call = waiting.size ? Math.max(...waiting.keys()) + 1 : 1;
    waiting.set(call, resolve);
    say({ publish: [channels, data], call });
  });
const next = async () => {
  for (let name = names.shift(); name; name = names.shift()) {
    say({ visit: await visit(library, code, { name, ...options }, publish) });
  }
};
await Promise.all(Array.from({ length: atOnce }, async (_, number) => {
  // Visitors don't come in step.
  await new Promise((resolve) => setTimeout(resolve, number * 37));
  await next();
}));
process.exit(0);
