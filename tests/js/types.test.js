/* fanout.d.ts and faye.d.ts say what the files beside them do: no member more, none less, and a page that uses them type-checks. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { makeWorld } = require("./world.js");
const { missing } = require("./servers.js");

const TYPES = ["fanout", "faye"].map((name) => path.join(__dirname, "..", "..", "static", name + ".d.ts"));

/** The members that an interface of theirs declares itself. */
function declared(name) {
  const ts = require("typescript");
  const statements = TYPES.flatMap((file) =>
    ts.createSourceFile(file, fs.readFileSync(file, "utf8"), ts.ScriptTarget.ES2020).statements);
  const found = statements.find((statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === name);
  return [...new Set(found.members.map((member) => member.name.text))].sort();
}

/** The members of an object's class, or of the object, but not those that begin with _. */
function present(thing, base = Object.prototype) {
  const names = new Set();
  for (let at = thing; at && at !== base; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) if (!name.startsWith("_") && name !== "constructor") names.add(name);
  }
  return [...names].sort();
}

const absent = missing("typescript");

test("Fanout and Faye have the members that are declared", { skip: absent }, () => {
  const { Fanout, Faye } = makeWorld().make();
  assert.deepEqual(present(Fanout), declared("Fanout"));
  assert.deepEqual(present(Faye), declared("Faye"));
  const client = new Faye.Client("/bayeux");
  assert.deepEqual(present(client), [...declared("FayeClient"), ...declared("Deferrable")].sort());
  const publication = client.publish("/a", 1);
  assert.deepEqual(present(publication), declared("Deferrable"));
  const scheduler = new Faye.Scheduler({}, {});
  assert.deepEqual(present(scheduler), declared("Scheduler"));
  const subscription = client.subscribe("/a", () => {});
  for (const name of declared("Subscription")) assert.equal(typeof subscription[name], "function", name);
  const watch = Fanout.subscribe("a", () => {});
  for (const name of declared("Watch")) assert.ok(name in watch, name);
  assert.deepEqual(Object.keys(watch.options).sort(), declared("WatchOptions").filter((name) => name !== "position"));
});

test("a page that uses every part type-checks, and mistakes don't", { skip: absent }, () => {
  const ts = require("typescript");
  // What TypeScript says of the browser is read once, and is not what is checked here: that took 18 s.
  const read = new Map();
  const check = (text) => {
    const name = path.join(__dirname, "page.ts");
    const options = {
      noEmit: true, strict: true, target: ts.ScriptTarget.ES2020, types: [], lib: ["lib.es2020.d.ts", "lib.dom.d.ts"],
      skipDefaultLibCheck: true,
    };
    const host = ts.createCompilerHost(options);
    const { getSourceFile, fileExists } = host;
    host.getSourceFile = (file, ...rest) => {
      if (file === name) return ts.createSourceFile(file, text, ts.ScriptTarget.ES2020);
      if (!read.has(file)) read.set(file, getSourceFile(file, ...rest));
      return read.get(file);
    };
    host.fileExists = (file) => file === name || fileExists(file);
    return ts.getPreEmitDiagnostics(ts.createProgram([name], options, host))
      .map((found) => ts.flattenDiagnosticMessageText(found.messageText, "\n"));
  };
  const start = 'import type { FayeError, Message, Pass } from "../../static/faye";\n';
  assert.deepEqual(check(start + `
    const watch = window.Fanout.subscribe("comments-17", async () => {}, { position: "e.1", poll: 5, lost: () => 0 });
    const where: string | null = watch.position;
    watch.cancel();
    if (window.Fanout.status === "websocket") window.Fanout.configure({ url: where || "" });
    window.Fanout.configure({ token: async () => (where ? "jwt" : null) });
    const client = new window.Faye.Client("/bayeux", { transportMode: "fallback", timeout: 60 });
    client.on("transport:up", () => {}).bind("transport:down", () => {}, null);
    client.subscribe("/a/*", (data) => data.x).withChannel((channel, data) => channel.length + data)
      .then(() => 1, (error: FayeError) => error.params.length);
    client.subscribe(["/a"], () => {})[0].cancel();
    client.publish("/a", { x: 1 }, { attempts: 3 }).then();
    client.addExtension({ incoming(message: Message, callback: Pass) { callback(message); } });
    client.addExtension({ outgoing(message: Message, request: null, callback: Pass) { callback(request); callback(message); } });
    async function page() { await client.subscribe("/b"); await client.disconnect(); }
    void page;
  `), []);
  for (const mistake of [
    'window.Fanout.subscribe(17, () => {});',
    'window.Fanout.subscribe("a", () => {}, { pol: 5 });',
    'new window.Faye.Client("/bayeux", { retries: 1 });',
    'window.Fanout.configure({ uri: "/" });',
    "window.Fanout.configure({ token: () => 7 });",
  ]) assert.equal(check(start + mistake).length, 1, mistake);
  const alone = (script) => check('import "../../static/fanout";\n' + script);
  assert.deepEqual(alone("window.Fanout.make({}).Fanout.subscribe('a', () => {});"), []);
  assert.equal(alone("new window.Faye.Client('/bayeux');").length, 1);
  assert.deepEqual(check(start + "new (window.Fanout.make({}).Faye.Client)('/bayeux');"), []);
});
