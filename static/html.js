// The badge of pages in development: what the validator says of this one, told by the hub (docs/html.md). It is in a
// shadow tree, where the page's sheets don't reach, and its own reach nothing else.

(() => {
  "use strict";
  const own = document.currentScript;
  const { key, hub } = own.dataset;
  const WORDS = { waiting: "HTML …", valid: "HTML valid", invalid: "HTML invalid", unchecked: "HTML not checked" };
  const SHEET = `
    details { position: fixed; right: 1rem; bottom: 1rem; z-index: 2147483647; max-width: min(40rem, 90vw);
      font: 14px/1.4 system-ui, sans-serif; color: #fff; background: #444; border-radius: 6px; }
    details[data-outcome="valid"] { background: #1a6b35; }
    details[data-outcome="invalid"] { background: #a3182b; }
    details[data-outcome="unchecked"] { background: #7a4d00; }
    summary { padding: .3rem .7rem; cursor: pointer; }
    ol { margin: 0; padding: .3rem 1rem .7rem 2rem; max-height: 50vh; overflow: auto; }
    code { display: block; font-size: 12px; opacity: .85; overflow-wrap: anywhere; }
    p { margin: 0; padding: 0 .7rem .7rem; }`;

  const host = document.createElement("fanfare-html");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(SHEET);
  root.adoptedStyleSheets = [sheet];
  document.body.append(host);

  function element(name, text) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    return made;
  }

  function show(verdict) {
    const badge = element("details");
    badge.dataset.outcome = verdict.outcome;
    const count = verdict.count ? `: ${verdict.count}` : "";
    badge.append(element("summary", WORDS[verdict.outcome] + count));
    if (verdict.why) badge.append(element("p", verdict.why));
    const list = element("ol");
    for (const message of verdict.messages) {
      const item = element("li", `${message.level}: ${message.text}`);
      const place = message.place || (message.line ? `line ${message.line} of the page` : "");
      for (const more of [place, message.extract]) if (more) item.append(element("code", more));
      list.append(item);
    }
    if (verdict.messages.length) badge.append(list);
    badge.open = root.querySelector("details")?.open ?? false;
    root.replaceChildren(badge);
  }

  /** The verdict, if it is there: what the hub says may have been said before this page heard. */
  async function ask() {
    const response = await fetch(`${own.src}?${key}`);
    if (response.status !== 200) return false;
    show(await response.json());
    return true;
  }

  function hear() {
    window.Fanout.subscribe(`html/${key}`, (data) => (data === undefined ? ask() : show(data)), { position: "" });
  }

  /** Where there is no hub the page asks until it knows. */
  async function insist() {
    while (!(await ask().catch(() => false))) await new Promise((resolve) => setTimeout(resolve, 1000));
  }

  show({ outcome: "waiting", messages: [] });
  if (window.Fanout) {
    hear();
  } else {
    const client = document.createElement("script");
    client.src = `${hub}/static/fanout.js`;
    client.dataset.url = hub;
    if (own.nonce) client.nonce = own.nonce;
    client.addEventListener("load", hear);
    client.addEventListener("error", insist);
    document.head.append(client);
  }
})();
