// PurgeCSS and Beasties over one page: `node rivals.mjs NAME MODULES`, {html, sheets: {href: text}} on stdin, {html, ms} on
// stdout. PurgeCSS gives text, which takes the place of each link; Beasties gives a page.
import { createRequire } from "node:module";

const [name, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/x.js`);
let input = "";
for await (const piece of process.stdin) input += piece;
const { html, sheets } = JSON.parse(input);

async function purged() {
  const { PurgeCSS } = require("purgecss");
  let page = html;
  for (const [href, raw] of Object.entries(sheets)) {
    const [found] = await new PurgeCSS().purge({ content: [{ raw: html, extension: "html" }], css: [{ raw }] });
    page = page.replace(new RegExp(`<link[^>]*${href.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}[^>]*>`), () => `<style>${found.css}</style>`);
  }
  return page;
}

async function critical() {
  const found = require("beasties");
  const Beasties = found.default ?? found;
  const beasties = new Beasties({ path: "/", logLevel: "silent", pruneSource: false, preload: "none", external: true, fonts: true });
  beasties.getCssAsset = async (href) => sheets[href] ?? sheets["/" + href.replace(/^\//, "")];
  // What it inlines, without the whole sheet that it loads later: that is what is shown first.
  return (await beasties.process(html)).replace(/<link[^>]*rel="?stylesheet[^>]*>/g, "").replace(/<noscript>.*?<\/noscript>/gs, "");
}

const run = name === "purgecss" ? purged : critical;
const began = performance.now();
const page = await run();
console.log(JSON.stringify({ html: page, ms: performance.now() - began }));
