// PurgeCSS and Beasties over one page: `node rivals.mjs MODULES`, {html, sheets: {href: text}} on stdin. On stdout, by
// tool, what it makes of that: {html} or {sheets}, with {ms} of the fastest of three, and {plan} for what is done once.
// PurgeCSS gives shorter sheets. Of Beasties that is taken which it puts into the page, without the whole sheet that it
// has loaded later: what is shown first.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules] = process.argv.slice(2);
const require = createRequire(`${modules}/x.js`);
let input = "";
for await (const piece of process.stdin) input += piece;
const { html, sheets } = JSON.parse(input);

async function timed(run) {
  let ms = Infinity;
  let made;
  for (let round = 0; round < 3; round++) {
    const began = performance.now();
    made = await run();
    ms = Math.min(ms, performance.now() - began);
  }
  return [made, ms];
}

const withoutLater = (page) =>
  page
    .replace(/<noscript>\s*<link[^>]*>\s*<\/noscript>/g, "")
    .replace(/<link[^>]*rel="?(?:stylesheet|preload)[^>]*>/g, (link) =>
      Object.keys(sheets).some((href) => link.includes(`"${href}"`)) ? "" : link,
    );

async function purgecss() {
  const { PurgeCSS } = require("purgecss");
  const content = [{ raw: html, extension: "html" }];
  const css = Object.values(sheets).map((raw) => ({ raw }));
  const [made, ms] = await timed(() => new PurgeCSS().purge({ content, css }));
  return { sheets: Object.fromEntries(Object.keys(sheets).map((href, index) => [href, made[index].css])), ms };
}

async function beasties() {
  const found = require("beasties");
  const Beasties = found.default ?? found;
  const [made, ms] = await timed(() => {
    const one = new Beasties({ path: "/", logLevel: "silent", pruneSource: false, preload: "none", external: true });
    one.getCssAsset = (href) => sheets[href];
    return one.process(html);
  });
  return { html: withoutLater(made), ms };
}

async function compiled() {
  const folder = pathToFileURL(`${modules}/beasties/dist/`);
  const { compileSheet, encodePlan } = await import(new URL("compiler.mjs", folder));
  const { createProcessor } = await import(new URL("runtime.mjs", folder));
  const [plans, plan] = await timed(() => Object.entries(sheets).map(([href, css]) => encodePlan(compileSheet(css, { href }))));
  // Each page is a new one: what is kept of a former one of the same shape is no measure.
  const processor = createProcessor(plans, { preload: false, cache: false });
  const [made, ms] = await timed(() => processor.process(html));
  return { html: withoutLater(made), ms, plan };
}

const results = {};
for (const tool of [purgecss, beasties, compiled]) {
  try {
    results[tool.name] = await tool();
  } catch (error) {
    results[tool.name] = { error: String(error).slice(0, 300) };
  }
}
console.log(JSON.stringify(results));
