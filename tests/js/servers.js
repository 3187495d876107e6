/* Real servers for tests, on free loopback ports, and a world of real sockets for the client in Node. */
"use strict";

const { spawn, spawnSync } = require("node:child_process");
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { Fanout } = require("../../static/faye.js");

const ROOT = path.join(__dirname, "..", "..");
const LOCAL = path.join(ROOT, ".venv", "bin", "python");
const PYTHON = fs.existsSync(LOCAL) ? LOCAL : "python3";

/** Why `name` can't be used here, or false. With CI=true nothing is missing: the test then fails. */
function missing(name) {
  if (process.env.CI === "true") return false;
  if (name === "hub") {
    const { status } = spawnSync(PYTHON, ["-c", "import hub.app"], { cwd: ROOT });
    return status === 0 ? false : "the hub's Python packages are not installed";
  }
  try {
    require.resolve(name);
    return false;
  } catch (absent) {
    return `npm package ${name} is not installed`;
  }
}

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Waits for `fact()` to be true; it is looked at, not waited for, because it is another process's. */
async function until(fact, what, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  while (!(await fact())) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(10);
  }
}

/** `python -m hub`; stop() and start() restart it on its port, without its history. `rules`: text of its HUB_RULES. */
class HubServer {
  constructor({ rules = "" } = {}) {
    this.rules = rules;
    this.key = crypto.randomBytes(32);
  }

  /** A JWT of the realm, HS256. `life` in seconds; `claims` as docs/access.md has them, none for a publisher's. */
  sign(life, claims = {}) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const exp = Math.floor(Date.now() / 1000) + life;
    const text = part({ alg: "HS256", typ: "JWT" }) + "." + part({ iss: "js", exp, ...claims });
    return text + "." + crypto.createHmac("sha256", this.key).update(text).digest("base64url");
  }

  /** Publish as a site's server does. */
  async publish(channel, data) {
    const answer = await fetch(new URL("/realm/js/publish/", this.url), {
      method: "POST",
      headers: { Authorization: "Bearer " + this.sign(60), "Content-Type": "application/json" },
      body: JSON.stringify({ items: [{ channel, "json-object": data }] }),
    });
    if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
  }

  async start() {
    this.port = this.port || (await freePort());
    this.folder = this.folder || fs.mkdtempSync(path.join(os.tmpdir(), "fanfare-js-"));
    const rules = path.join(this.folder, "rules.toml");
    fs.writeFileSync(rules, this.rules);
    const environment = { ...process.env };
    for (const name of Object.keys(environment)) if (/^(HUB_|FANOUT_|REDIS_URL|WEB_CONC)/.test(name)) delete environment[name];
    Object.assign(environment, {
      HOST: "127.0.0.1", PORT: String(this.port), HUB_VAR: this.folder, HUB_CLIENT_PUBLISH: "/chat/*", HUB_CONNECT_TIMEOUT: "5",
      HUB_RULES: rules, HUB_PRESENCE_LEAVE: "0.5", FANOUT_REALM: "js", FANOUT_KEY: this.key.toString("base64"),
    });
    this.process = spawn(PYTHON, ["-m", "hub"], { cwd: ROOT, env: environment, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    this.process.stderr.on("data", (text) => { log += text; });
    this.url = `http://127.0.0.1:${this.port}/bayeux`;
    await until(async () => {
      if (this.process.exitCode !== null) throw new Error("the hub ended: " + log);
      return fetch(`http://127.0.0.1:${this.port}/ready`).then((answer) => answer.ok, () => false);
    }, "the hub is ready");
    return this;
  }

  async stop(signal = "SIGTERM") {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill(signal);
    await ended;
  }

  async end() {
    await this.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Faye's own server. */
class FayeServer {
  async start() {
    const { NodeAdapter } = require("faye");
    const adapter = new NodeAdapter({ mount: "/bayeux", timeout: 5 });
    adapter.addExtension({
      incoming(message, callback) {
        if (message.subscription === "/no") message.error = "403:/no:Forbidden channel";
        callback(message);
      },
    });
    this.adapter = adapter;
    this.server = http.createServer();
    adapter.attach(this.server);
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/bayeux`;
    return this;
  }

  async end() {
    this.adapter.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** The client over real sockets; `given` replaces parts of its world. */
function make(given = {}) {
  // Node 20 has no WebSocket of its own; this one comes with Faye and has the browser's interface.
  const { Client } = require("faye-websocket");
  return Fanout.make({ WebSocket: Client, storage: null, page: {}, document: undefined, url: undefined, ...given });
}

module.exports = { HubServer, FayeServer, make, missing, until };
