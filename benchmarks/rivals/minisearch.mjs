// MiniSearch on what `benchmarks/search.py` gives it: for each of its settings the first five of each query, and what
// each took.
import { readFileSync } from "node:fs";
import MiniSearch from "minisearch";

const { documents, asked, settings } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const search = new MiniSearch({ fields: ["title", "text"] });
search.addAll(documents);

function row(options) {
  for (const [typed] of Object.values(asked)[0].slice(0, 20)) search.search(typed, options);
  const times = [];
  const found = {};
  for (const [kind, some] of Object.entries(asked)) {
    found[kind] = some.map(([typed]) => {
      const began = performance.now();
      const hits = search.search(typed, options);
      times.push(performance.now() - began);
      return hits.slice(0, 5).map(({ id }) => id);
    });
  }
  return { found, times };
}

console.log(JSON.stringify(settings.map(row)));
