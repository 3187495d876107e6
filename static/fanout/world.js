/* What the client needs of the world, and how the client of a page begins. */

export const root = globalThis;

// What the client needs of the world. Tests bring their own.
const WORLD = {
  now: () => Date.now(),
  random: () => Math.random(),
  // A longer time would be taken for none at all.
  later: (call, ms) => setTimeout(call, Math.min(ms, 2 ** 31 - 1)),
  cancel: (timer) => clearTimeout(timer),
  fetch: (url, init) => root.fetch(url, init),
  // A page's error is the page's: thrown where its own error handlers see it, never through us.
  report: (error) => void setTimeout(() => { throw error; }),
  warn: (text) => { if (root.console) root.console.warn(text); },
  get WebSocket() { return root.WebSocket; },
  get document() { return root.document; },
  get page() { return root; },
  get storage() {
    try { return root.sessionStorage; } catch (refused) { return null; }
  },
};

/** The page's world, with what tests and pages of two hubs replace of it. */
export const worldOf = (given) => Object.create(WORLD, Object.getOwnPropertyDescriptors(given));

/** Whether nobody sees the page. */
export const isHidden = ({ document }) => Boolean(document && document.hidden);

/** Give the page what `make` makes for its hub: the one that the script's tag names, or that the script is from. */
export function begin(make, more) {
  const script = root.document && root.document.currentScript;
  const url = script && script.src ? new URL(script.getAttribute("data-url") || "/bayeux", script.src).href : undefined;
  const made = { ...make({ url }), ...more };
  if (typeof module === "object" && module.exports) module.exports = made;
  else Object.assign(root, made);
}
