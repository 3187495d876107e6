/*
 * Builds the browser's client out of the modules in static/fanout/: `node .ci/client.mjs`, or `make client`.
 * The built files are committed, for an installation has no Node; tests/js/build.test.js compares them.
 */
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The built files and their source maps, as [{ path, contents }]; nothing is written. */
export async function client() {
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: { fanout: "static/fanout/entry.js", faye: "static/fanout/entry-faye.js" },
    outdir: "static",
    write: false,
    bundle: true,
    format: "iife",
    // Browsers since 2018; the sources are written for them too, so that nothing is rewritten for them.
    target: "es2018",
    // Names of properties stay: pages extend Faye's classes, and fields of theirs could meet shortened ones.
    minify: true,
    sourcemap: true,
    banner: { js: "/* Fanfare's client in the browser; docs/fanout.md says where its source is. */" },
    // In Node the files are modules of its older kind.
    logOverride: { "commonjs-variable-in-esm": "silent" },
  });
  return outputFiles;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const file of await client()) {
    fs.writeFileSync(file.path, file.contents);
    const packed = zlib.gzipSync(file.contents, { level: 9 }).length;
    console.log(`${path.relative(ROOT, file.path)}: ${file.contents.length} bytes, ${packed} by gzip`);
  }
}
