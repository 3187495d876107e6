/*
 * The hub from inside, live: every worker says once a second how it is, and the pictures are asked for anew now and
 * then. Without this script the page shows what was when it was loaded.
 */
(() => {
  "use strict";

  const tiles = document.getElementById("hub-tiles");
  if (!tiles) return;

  // Milliseconds after which a worker that says nothing more is not counted any more.
  const SILENT = 5000;

  if (window.Fanout) {
    window.Fanout.configure({
      token: async () => {
        const response = await fetch("/manage/hub/token", { credentials: "same-origin" });
        return response.ok ? response.text() : null;
      },
    });
    window.Fanout.subscribe(tiles.dataset.channel, (told) => told && take(told), { raw: true, poll: 0, calmPoll: 0 });
  }

  const workers = new Map();

  function take({ worker, now }) {
    const at = Date.now();
    workers.set(worker, { at, now });
    for (const [name, told] of workers) if (at - told.at > SILENT) workers.delete(name);
    for (const tile of tiles.querySelectorAll("[data-now]")) {
      const known = [...workers.values()].map((told) => told.now[tile.dataset.now]).filter((value) => value !== null);
      if (!known.length) continue;
      const value = tile.dataset.how === "most" ? Math.max(...known) : known.reduce((one, other) => one + other, 0);
      tile.textContent = shown(value, tile.dataset.kind);
    }
  }

  function shown(value, kind) {
    if (kind === "part") return `${(value * 100).toFixed(1)}%`;
    if (kind === "seconds") return value < 1 ? `${(value * 1000).toFixed(value < 0.1 ? 1 : 0)} ms` : `${value.toFixed(1)} s`;
    return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
  }

  // What is opened stays open, and nothing is fetched for a page that nobody sees.
  async function refresh() {
    const old = document.getElementById("hub-pictures");
    const every = 1000 * Number(old.dataset.every);
    try {
      if (!document.hidden && !old.contains(document.activeElement)) {
        const response = await fetch(old.dataset.source, { credentials: "same-origin", headers: { Accept: "text/html" } });
        if (response.redirected) return location.reload();
        if (response.ok) {
          const page = new DOMParser().parseFromString(await response.text(), "text/html");
          const next = page.getElementById("hub-pictures");
          if (next) {
            for (const each of old.querySelectorAll("details[open]")) {
              const same = next.querySelector(`#${each.id}`);
              if (same) same.open = true;
            }
            old.replaceWith(next);
          }
        }
      }
    } catch (away) {
      // Tried again when it is time.
    }
    setTimeout(refresh, every);
  }
  setTimeout(refresh, 1000 * Number(document.getElementById("hub-pictures").dataset.every));
})();
