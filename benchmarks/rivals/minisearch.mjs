// MiniSearch on what `benchmarks/search.py` gives it: the first five of each query, and what each took.
import { readFileSync } from "node:fs";
import MiniSearch from "minisearch";

const { documents, asked } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const search = new MiniSearch({ fields: ["title", "text"], searchOptions: { boost: { title: 2 }, fuzzy: 2 } });
search.addAll(documents);
for (const [typed] of Object.values(asked)[0].slice(0, 20)) search.search(typed);
const times = [];
const found = {};
for (const [kind, some] of Object.entries(asked)) {
  found[kind] = some.map(([typed]) => {
    const began = performance.now();
    const hits = search.search(typed);
    times.push(performance.now() - began);
    return hits.slice(0, 5).map(({ id }) => id);
  });
}
console.log(JSON.stringify({ found, times }));
