/*
 * Podcast Time in the browser: search as you type, picks that are kept here, and looks at a podcast without a request.
 *
 * #podcast-find     the search; ↑ ↓ choose, Tab and Enter pick, Escape closes
 * #mine             one's podcasts and their numbers, made by the server; another list is fetched and put in its place
 * [data-podcast]    a podcast that the page knows: a click shows it, and asks nothing
 *
 * Without this script all of it works by itself: links are links and forms are forms.
 */
(() => {
  "use strict";

  const API = "/api/podcasttime";
  const PAUSE = 150;

  function remember(name, value) {
    try {
      if (value) localStorage.setItem(`fanfare.${name}`, value);
      else localStorage.removeItem(`fanfare.${name}`);
    } catch (refused) {
      // Storage is refused in some private windows; nothing depends on it.
    }
  }

  function remembered(name) {
    try {
      return localStorage.getItem(`fanfare.${name}`) ?? "";
    } catch (refused) {
      return "";
    }
  }

  const idsOf = (text) => text.split("-").filter((id) => /^[1-9]\d{0,9}$/.test(id)).map(Number);
  const addressOf = (ids) => (ids.length ? `/podcasts/mine/${ids.join("-")}` : "/podcasts");

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const amount = (hours) => (hours <= 2 ? `${(hours * 60).toFixed(1)} minutes` : `${hours.toFixed(1)} hours`);

  function facts(one) {
    if (one.episodes_count === null) {
      return element("p", { class: "pod-facts" }, element("span", { class: "pod-waiting" }, one.error ? `Could not be read yet: ${one.error}` : "Being fetched…"));
    }
    let text = plural(one.episodes_count, "episode");
    text += one.total_hours === null ? ", of unknown length" : `, ${amount(one.total_hours)} in all`;
    if (one._outdated) text += ", nothing new for 300 days";
    return element("p", { class: "pod-facts" }, text);
  }

  const name = (one) =>
    element("p", { class: "pod-name" },
      element("a", { href: `/podcasts/${one.id}/${one.slug}`, dir: "auto", "data-podcast": JSON.stringify(one) }, one.name));

  // Only the site's own: our policy allows no others.
  const square = (one) =>
    one.thumbnail_160?.startsWith("/pictures/")
      ? element("div", { class: "crop" },
        element("img", { src: one.thumbnail_160, srcset: `${one.thumbnail_160} 1x, ${one.thumbnail_348} 2x`, width: 56, height: 56, alt: "", loading: "lazy" }))
      : null;

  // What was picked in this browser. A page at another's address is not ours until something is changed on it.

  const page = document.getElementById("podcast-view");

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[data-add]");
    if (!link || page) return;
    // On a podcast's own page: it joins what was picked here before.
    const ids = [...new Set([...idsOf(remembered("podcasts")), Number(link.dataset.add)])];
    link.href = addressOf(ids);
    keep(ids);
  });

  function keep(ids) {
    remember("podcasts", ids.join("-"));
    const key = remembered("podcasts-key");
    if (!ids.length && !key) return;
    const fields = new URLSearchParams({ ids: ids.join(",") });
    if (key) fields.set("picks", key);
    fetch(`${API}/picked`, { method: "POST", body: fields, headers: headers(), credentials: "same-origin", keepalive: true })
      .then(async (response) => {
        if (response.ok) remember("podcasts-key", (await response.json()).session_key);
        // A key that the site doesn't know (any more) begins anew with the next pick.
        else if (response.status === 400) remember("podcasts-key", "");
      })
      .catch(() => {});
  }

  function headers() {
    const token = document.querySelector("input[name=csrf_token]")?.value;
    return { Accept: "application/json", ...(token ? { "X-CSRF-Token": token } : {}) };
  }

  if (!page) return;

  const input = document.getElementById("podcast-question");
  const form = document.getElementById("podcast-find");
  const badge = document.getElementById("podcast-found");
  const results = document.getElementById("podcast-results");
  let mine = document.getElementById("mine");

  // The list.

  async function show(ids, { push = true } = {}) {
    const fresh = (await window.Live.getPage(addressOf(ids) + options())).getElementById("mine");
    const old = mine;
    mine = document.importNode(fresh, true);
    window.Live.unfollow(old);
    old.replaceWith(mine);
    window.Live.follow(mine);
    const to = addressOf(ids) + options();
    if (push && to !== location.pathname + location.search) history.pushState({ podcasts: ids }, "", to);
    document.getElementById("podcast-add").elements.namedItem("ids").value = ids.join("-");
    follow();
  }

  /** How the list is played, as the address says it. */
  function options() {
    const query = new URLSearchParams(location.search);
    query.delete("q");
    return location.pathname.startsWith("/podcasts") && query.size ? `?${query}` : "";
  }

  const picked = () => idsOf(mine.dataset.ids);

  async function change(ids) {
    keep(ids);
    try {
      await show(ids);
    } catch (error) {
      location.assign(addressOf(ids));
    }
  }

  page.addEventListener("click", (event) => {
    if (!(event.target instanceof Element) || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const add = event.target.closest("[data-add]");
    const remove = event.target.closest("[data-remove]");
    if (!add && !remove) return;
    event.preventDefault();
    const id = Number((add ?? remove).dataset.add ?? remove.dataset.remove);
    const ids = picked().filter((each) => each !== id);
    if (add) ids.push(id);
    change(ids);
    if (add) input.focus({ preventScroll: true });
  });

  // A podcast that the page knows. What was shown before is kept as it is, and Back puts it there again.

  let detail = null;
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element) || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest("a[data-podcast]");
    if (!link || !page.isConnected || detail) return;
    event.preventDefault();
    const one = JSON.parse(link.dataset.podcast);
    history.pushState({ podcast: one.id }, "", link.getAttribute("href"));
    open(one);
  });

  const title = document.title;
  let scrolled = 0;

  function open(one) {
    scrolled = window.scrollY;
    const path = `/podcasts/${one.id}/${one.slug}`;
    const has = picked().includes(one.id);
    detail = element("article", { class: "podcast", id: "podcast-shown" },
      element("p", {}, element("a", { href: location.pathname, "data-back": true }, "Back to my podcasts")),
      element("h1", { dir: "auto", tabindex: "-1" }, one.name),
      one.subtitle ? element("p", { class: "prose", dir: "auto" }, one.subtitle) : null,
      facts(one),
      one.times_picked ? element("p", { class: "pod-facts" }, `In ${plural(one.times_picked, "list")}.`) : null,
      element("p", { class: "form-end" },
        has ? null : element("button", { class: "button primary", type: "button", "data-pick": true }, "Pick this podcast"),
        element("a", { class: "button", href: path }, "Episodes and comments")));
    detail.querySelector("[data-back]").addEventListener("click", (event) => {
      event.preventDefault();
      history.back();
    });
    detail.querySelector("[data-pick]")?.addEventListener("click", () => {
      const ids = [...picked(), one.id];
      close();
      change(ids);
    });
    page.hidden = true;
    page.after(detail);
    document.title = `${one.name} · Fanfare`;
    detail.querySelector("h1").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  function close() {
    if (!detail) return;
    detail.remove();
    detail = null;
    page.hidden = false;
    document.title = title;
    window.scrollTo(0, scrolled);
  }

  window.addEventListener("popstate", (event) => {
    if (detail) {
      close();
      return;
    }
    const match = /^\/podcasts(?:\/mine\/([\d-]+))?$/.exec(location.pathname);
    if (match) show(idsOf(match[1] ?? ""), { push: false }).catch(() => location.reload());
    else location.reload();
  });

  // The search.

  let found = [];
  let chosen = -1;
  let asked = 0;
  let timer = 0;

  const said = (count, total) => (count === 0 ? "0 found :(" : total === 1 ? "1 found!" : `${total} found`);

  async function ask(question, submitted = false) {
    const number = ++asked;
    badge.textContent = submitted ? "searching the directory…" : "searching…";
    const query = new URLSearchParams({ q: question });
    if (submitted) query.set("submitted", "true");
    try {
      const response = await fetch(`${API}/find?${query}`, { headers: { Accept: "application/json" }, credentials: "same-origin" });
      const answer = await response.json();
      if (number !== asked) return;
      if (!response.ok) {
        badge.textContent = `${answer.error} ${answer.next ?? ""}`;
        return;
      }
      list(answer.items);
      badge.textContent = answer.error ?? said(answer.items.length, answer.total);
    } catch (error) {
      if (number === asked) badge.textContent = "The search can’t be reached. Check your connection.";
    }
  }

  function list(items) {
    found = items;
    chosen = -1;
    results.replaceChildren();
    if (items.length) {
      const rows = items.map((one) => row(one));
      results.append(element("ul", { class: "pods", id: "podcast-list" }, ...rows));
    }
    mark();
    follow();
  }

  function row(one) {
    const has = picked().includes(one.id);
    return element("li", { class: `pod${one.episodes_count === null ? " is-waiting" : ""}`, id: `found-${one.id}` },
      square(one),
      element("div", {}, name(one), facts(one)),
      has
        ? element("span", { class: "pod-facts" }, "Picked")
        : element("button", { type: "button", class: "button", "data-add": one.id }, "Pick", element("span", { class: "only-read" }, ` ${one.name}`)));
  }

  function mark() {
    results.querySelectorAll(".pod").forEach((each, place) => each.classList.toggle("is-chosen", place === chosen));
    if (found[chosen]) badge.textContent = `${found[chosen].name}, ${chosen + 1} of ${found.length}: Enter picks it`;
  }

  function clear() {
    asked++;
    clearTimeout(timer);
    list([]);
    badge.textContent = "";
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    const question = input.value.trim();
    if (!question) return clear();
    // A feed's address is asked for when it is whole.
    if (question.includes("://")) return void (badge.textContent = "Enter adds this feed");
    timer = setTimeout(() => ask(question), PAUSE);
  });

  input.addEventListener("keydown", (event) => {
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && found.length) {
      event.preventDefault();
      const by = event.key === "ArrowDown" ? 1 : -1;
      chosen = (chosen + by + found.length + (chosen < 0 && by < 0 ? 1 : 0)) % found.length;
      mark();
    } else if ((event.key === "Enter" || event.key === "Tab") && found[chosen]) {
      event.preventDefault();
      const id = found[chosen].id;
      input.value = "";
      clear();
      if (!picked().includes(id)) change([...picked(), id]);
    } else if (event.key === "Escape" && (found.length || input.value)) {
      event.preventDefault();
      input.value = "";
      clear();
    }
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = input.value.trim();
    clearTimeout(timer);
    // Nothing here by that name: the directory may have it.
    if (question) ask(question, question.includes("://") || (badge.textContent !== "searching…" && !found.length));
  });

  // What is being fetched fills in when the hub says so, here and in the list; nothing polls.

  const watches = new Map();

  function follow() {
    if (!window.Fanout) return;
    const wanted = new Set(found.filter((one) => one.episodes_count === null).map((one) => one.id));
    for (const [id, watch] of watches) {
      if (wanted.has(id)) continue;
      watch.cancel();
      watches.delete(id);
    }
    for (const id of wanted) {
      if (watches.has(id)) continue;
      watches.set(id, window.Fanout.subscribe(`podcast-${id}`, () => fill(id), { position: "", poll: 3600, calmPoll: 3600 }));
    }
  }

  async function fill(id) {
    const response = await fetch(`${API}/find?ids=${id}`, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (!response.ok) return;
    const [one] = (await response.json()).items;
    const place = found.findIndex((each) => each.id === id);
    if (!one || place < 0) return;
    found[place] = one;
    document.getElementById(`found-${id}`)?.replaceWith(row(one));
    mark();
    if (one.episodes_count !== null) follow();
  }

  // The first look: what was picked here before, unless the address names a list.

  const before = idsOf(remembered("podcasts"));
  if (location.pathname === "/podcasts" && !location.search && before.length) {
    show(before, { push: false }).then(() => history.replaceState({ podcasts: before }, "", addressOf(before))).catch(() => {});
  }
})();
