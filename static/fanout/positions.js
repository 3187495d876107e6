/* Places in a channel's history, and the patterns that match a channel's name. */

export const parse = (text) => {
  const found = typeof text === "string" && /^([a-z0-9]+)\.(\d+)$/i.exec(text);
  return found ? { epoch: found[1], offset: +found[2], text } : null;
};
export const isBehind = (at, other) => at.epoch !== other.epoch || at.offset < other.offset;
export const isWild = (name) => /\/\*\*?$/.test(name);

/** The patterns that match a channel's name: itself, one level, and every level above. */
export function expand(name) {
  const parts = name.split("/");
  const patterns = [name, [...parts.slice(0, -1), "*"].join("/")];
  for (let n = 1; n < parts.length; n++) patterns.push([...parts.slice(0, n), "**"].join("/"));
  return patterns;
}
