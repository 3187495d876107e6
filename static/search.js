/*
 * The page of results: as one types, and as things change.
 *
 * #search-q       results come with each key; a newer question always wins over an older answer
 * #search-offers  what the last word may become: a combobox by the ARIA pattern (list, no inline completion)
 * #results        follows the documents' channel: what is new is marked, and what the reader looks at stays where it is
 * "/"             puts the cursor into the box
 *
 * Without this script the form is a form.
 */
(() => {
  "use strict";

  const form = document.querySelector(".search-form");
  const box = document.getElementById("search-q");
  const offers = document.getElementById("search-offers");
  const results = document.getElementById("results");
  const POLL = Number(document.body.dataset.poll);
  const CALM_POLL = Number(document.body.dataset.calmPoll);

  // Answers that were overtaken are dropped by number, whatever their request did.
  let asked = 0;
  let aborter = null;
  let watch = null;

  // What is being looked for has a random name, of nobody's, until another thing is: a pause, or another page, ends it.
  // What a page was loaded with has its own.
  let named = results.dataset.intent ?? "";
  let lastKey = Date.now();
  const PAUSE = 5000;

  function intent() {
    if (!named || Date.now() - lastKey > PAUSE) named = "";
    lastKey = Date.now();
    named ||= [...crypto.getRandomValues(new Uint8Array(11))].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, 22);
    return named;
  }

  const addressOf = (query) => (query ? `/search?${new URLSearchParams({ q: query })}` : "/search");
  const here = () => location.pathname + location.search;

  async function fetchPage(url, signal, follows) {
    const headers = { Accept: "text/html", "Search-Intent": follows ? "none" : intent() };
    if (watch?.position) headers["Hub-Heard"] = `${encodeURIComponent(watch.channel)}:${watch.position}`;
    const response = await fetch(url, { headers, credentials: "same-origin", signal });
    // Too long a question, and search that rests, have their pages too.
    if (response.status >= 500 && response.status !== 503) throw new Error(`${url}: ${response.status}`);
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  function showTimes(root) {
    const dates = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
    for (const time of root.querySelectorAll("time[datetime]")) {
      const when = new Date(time.dateTime);
      if (Number.isNaN(when.getTime())) continue;
      time.textContent = dates.format(when);
      time.title = when.toUTCString();
    }
  }

  /** Put fresh results in. keep: hits that stay keep their place on the screen, and new ones are marked. */
  function put(page, keep) {
    const fresh = page.getElementById("results");
    if (!fresh) return;
    showTimes(fresh);
    const before = new Map([...results.querySelectorAll(".hit")].map((hit) => [hit.id, hit]));
    const opened = new Set([...results.querySelectorAll("details[open]")].map((one) => one.closest(".hit")?.id));
    const focus = results.contains(document.activeElement) ? document.activeElement : null;
    const focused = focus && { hit: focus.closest(".hit")?.id, href: focus.getAttribute("href"), name: focus.nodeName };
    // The first hit on the screen stays where it is.
    const anchor = keep ? [...before.values()].find((hit) => hit.getBoundingClientRect().bottom > 0) : undefined;
    const top = anchor?.getBoundingClientRect().top;
    for (const hit of fresh.querySelectorAll(".hit")) {
      if (keep && !before.has(hit.id)) hit.classList.add("is-new");
      else if (keep && before.get(hit.id).classList.contains("is-new")) hit.classList.add("is-new");
      const details = hit.querySelector("details");
      if (keep && details && opened.has(hit.id)) details.open = true;
    }
    results.replaceChildren(...document.adoptNode(fresh).childNodes);
    document.title = page.title;
    const heading = document.querySelector("h1");
    const said = page.querySelector("h1");
    if (heading && said) heading.textContent = said.textContent;
    const stays = anchor && document.getElementById(anchor.id);
    if (stays && window.scrollY > 0) window.scrollBy({ top: stays.getBoundingClientRect().top - top, behavior: "instant" });
    if (focused) {
      const within = (focused.hit && document.getElementById(focused.hit)) || results;
      const again = [...within.querySelectorAll(focused.name)].find((one) => one.getAttribute("href") === focused.href);
      again?.focus({ preventScroll: true });
    }
  }

  async function ask(url, { keep = false, push = false } = {}) {
    const number = ++asked;
    aborter?.abort();
    aborter = new AbortController();
    let page;
    try {
      page = await fetchPage(url, aborter.signal, keep);
    } catch (error) {
      if (error.name === "AbortError") return;
      throw error;
    }
    if (number !== asked) return;
    if (push) history.replaceState(null, "", url);
    put(page, keep);
  }

  // As one types.

  let typed = box.value;

  function changed() {
    if (box.value === typed) return;
    typed = box.value;
    const query = box.value.trim();
    offer(query);
    if (!query) {
      asked += 1;
      aborter?.abort();
      results.replaceChildren();
      history.replaceState(null, "", "/search");
      return;
    }
    ask(addressOf(box.value.trim()), { push: true }).catch(() => {});
  }

  // What the last word may become.

  let offering = 0;
  let chosen = -1;

  function close() {
    offers.hidden = true;
    offers.replaceChildren();
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  async function offer(query) {
    const number = ++offering;
    if (query.length < 2) return close();
    const response = await fetch(`/autocomplete?${new URLSearchParams({ q: query, n: 6 })}`).catch(() => null);
    if (!response?.ok) return number === offering && close();
    const { terms } = await response.json();
    if (number !== offering || document.activeElement !== box) return;
    const some = terms.filter((term) => term.toLowerCase() !== query.toLowerCase());
    if (!some.length) return close();
    offers.replaceChildren(...some.map((term, index) => {
      const option = document.createElement("li");
      option.id = `search-offer-${index}`;
      option.role = "option";
      option.ariaSelected = "false";
      option.textContent = term;
      // Before the box loses the focus.
      option.addEventListener("mousedown", (event) => {
        event.preventDefault();
        take(term);
      });
      return option;
    }));
    chosen = -1;
    offers.hidden = false;
    box.setAttribute("aria-expanded", "true");
    box.removeAttribute("aria-activedescendant");
  }

  function move(by) {
    const options = [...offers.children];
    if (offers.hidden || !options.length) return;
    // One place more than there are options: the box itself.
    chosen = ((chosen + 1 + by + options.length + 1) % (options.length + 1)) - 1;
    options.forEach((option, index) => { option.ariaSelected = String(index === chosen); });
    if (chosen < 0) box.removeAttribute("aria-activedescendant");
    else {
      box.setAttribute("aria-activedescendant", options[chosen].id);
      options[chosen].scrollIntoView({ block: "nearest" });
    }
  }

  function take(term) {
    box.value = term;
    changed();
    offering += 1;
    close();
  }

  box.setAttribute("role", "combobox");
  box.setAttribute("aria-autocomplete", "list");
  box.setAttribute("aria-controls", "search-offers");
  box.setAttribute("aria-expanded", "false");
  box.addEventListener("input", changed);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (offers.hidden) offer(box.value.trim());
      else move(event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
    } else if (event.key === "Enter" && chosen >= 0) {
      take(offers.children[chosen].textContent);
      event.preventDefault();
    } else if (event.key === "Escape" && !offers.hidden) {
      close();
      event.preventDefault();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    offering += 1;
    close();
    history.pushState(null, "", addressOf(box.value.trim()));
    ask(here()).catch(() => form.submit());
  });
  window.addEventListener("popstate", () => {
    box.value = typed = new URLSearchParams(location.search).get("q") ?? "";
    ask(here()).catch(() => location.reload());
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    box.focus();
    box.select();
  });

  // What was opened. Nothing says by whom.
  results.addEventListener("click", (event) => {
    if (!named || !event.target.closest(".hit a[href], .pinned a")) return;
    const body = JSON.stringify({ intent: named, csrf_token: results.dataset.token });
    fetch("/search/clicks", { method: "POST", body, headers: { "Content-Type": "application/json" }, keepalive: true }).catch(() => {});
  });

  // As things change.

  const refresh = () => (new URLSearchParams(location.search).get("q") ? ask(here(), { keep: true }) : Promise.resolve());
  const { channel, position } = results.dataset;
  if (channel) {
    if (window.Fanout) watch = window.Fanout.subscribe(channel, refresh, { position, poll: POLL, calmPoll: CALM_POLL });
    else setInterval(() => document.hidden || refresh().catch(() => {}), POLL * 1000);
  }
  showTimes(results);
})();
