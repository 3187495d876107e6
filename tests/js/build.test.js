/* The built client is what its modules are built to, and stays small. */
"use strict";

const test = require("node:test");
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");
const zlib = require("node:zlib");
const { missing } = require("./servers.js");

const STATIC = path.join(__dirname, "..", "..", "static");
const read = (name) => fs.readFileSync(path.join(STATIC, name));

/** What a page's window has after its scripts, in order. */
function page(scripts, window = {}) {
  vm.createContext(window);
  for (const name of scripts) vm.runInContext(read(name).toString(), window);
  return window;
}

test("a fresh build gives the committed bytes, source maps too", { skip: missing("esbuild") }, async () => {
  const { client } = await import("../../.ci/client.mjs");
  const built = await client();
  assert.deepEqual(built.map((file) => path.relative(STATIC, file.path)).sort(),
    ["fanout.js", "fanout.js.map", "faye.js", "faye.js.map"]);
  for (const file of built) {
    const name = path.basename(file.path);
    assert.ok(read(name).equals(Buffer.from(file.contents)), `static/${name} is of other sources: run make client`);
  }
});

test("what a page loads is 8 KB by gzip at most", () => {
  assert.ok(zlib.gzipSync(read("fanout.js"), { level: 9 }).length <= 8192);
});

test("a source map has every module with its text", () => {
  for (const name of ["fanout", "faye"]) {
    assert.ok(read(name + ".js").toString().trimEnd().endsWith(`//# sourceMappingURL=${name}.js.map`));
    const { sources, sourcesContent } = JSON.parse(read(name + ".js.map"));
    assert.ok(sources.length > 10);
    sources.forEach((source, place) => assert.equal(sourcesContent[place], read(source).toString(), source));
  }
});

test("a page of Faye that loads fanout.js is told what to load", () => {
  const moved = { message: /^Fanout: Faye\.Client is not in fanout\.js but in faye\.js/ };
  const window = page(["fanout.js"]);
  assert.equal(typeof window.Fanout.subscribe, "function");
  assert.throws(() => vm.runInContext("new Faye.Client('/bayeux')", window), moved);
  assert.throws(() => new (require("../../static/fanout.js").Faye.Client)("/bayeux"), moved);
});

test("a page's own Faye stays, whichever comes first", () => {
  const own = { Client: class {} };
  assert.equal(page(["fanout.js"], { Faye: own }).Faye, own);
  const window = page(["fanout.js"]);
  window.Faye = own;
  assert.equal(vm.runInContext("Faye", window), own);
  for (const order of [["fanout.js", "faye.js"], ["faye.js", "fanout.js"]]) {
    const { Faye, Fanout } = page(order);
    assert.equal(Faye.VERSION, "1.4.3");
    assert.equal(typeof Fanout.subscribe, "function");
  }
});
