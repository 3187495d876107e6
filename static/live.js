/*
 * The glue between the pages and fanout.js: on a hint, fetch the page's own URL and replace what changed.
 *
 * [data-follow]      a region with an id that follows a channel, or several with blanks between, as many positions;
 *                    its new self is in the page at data-source
 * .progress          is such a region, too: what a job tells is shown as it comes, and nothing is fetched
 * form[data-refresh] posts without leaving the page, then refreshes the region of that id
 * a[data-dialog]     opens the form of that id, found in the page it links to, in a dialog
 *
 *
 * Without this script all of it works by itself: links are links and forms are forms. `Live` is for the scripts of parts.
 */
(() => {
  "use strict";

  const POLL = Number(document.body.dataset.poll);
  const CALM_POLL = Number(document.body.dataset.calmPoll);
  // Milliseconds before a fetch that a hint asked for is tried again: the hint itself won't come twice.
  const RETRIES = [500, 2000, 5000];
  // Milliseconds until an answer begins. A connection that died while the page slept never gives one, and the browser
  // would wait for minutes; a server that is slow gets twice as long each time.
  const PATIENCE = 3000;
  const PATIENCE_MAX = 48000;
  let patience = PATIENCE;

  /** One call of `work` at a time, and one more after it when asked meanwhile: the last hint counts. */
  function oneAtATime(work) {
    let running = null;
    let again = false;
    const run = async () => {
      do {
        again = false;
        await work();
      } while (again);
    };
    return () => {
      again = true;
      running ??= run().finally(() => (running = null));
      return running;
    };
  }

  /** Refresh for a hint, trying again if that fails. */
  async function insist(refresh) {
    for (const pause of RETRIES) {
      try {
        return await refresh();
      } catch (error) {
        if (!navigator.onLine) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause * (0.75 + Math.random() / 2)));
      }
    }
    // What fails now is reported, and called again, by fanout.js.
    return refresh();
  }

  /**
   * Call `refresh` whenever the channel says that something changed. An empty position means that it isn't known.
   * take: shows what was published, if it can: then there is nothing to fetch.
   */
  function follow(channel, position, refresh, take = () => false) {
    if (!window.Fanout) {
      // The client itself could not be loaded.
      setInterval(() => document.hidden || refresh().catch(() => {}), POLL * 1000);
      return null;
    }
    const act = async (data) => {
      if (data !== undefined && take(data)) return undefined;
      // Without data it is a poll, which comes again by itself.
      return data === undefined ? refresh() : insist(refresh);
    };
    return window.Fanout.subscribe(channel, act, { position, poll: POLL, calmPoll: CALM_POLL });
  }

  /** What this page has heard of, for a worker that may not have heard so far: `wrote.py` reads it. */
  function heard(watches) {
    const known = [watches].flat().filter((watch) => watch && watch.position);
    if (!known.length) return {};
    return { "Hub-Heard": known.map((watch) => `${encodeURIComponent(watch.channel)}:${watch.position}`).join("|") };
  }

  async function get(url, type, watch) {
    const aborter = new AbortController();
    const timer = setTimeout(() => {
      patience = Math.min(2 * patience, PATIENCE_MAX);
      aborter.abort(new Error(`${url}: no answer`));
    }, patience);
    const response = await fetch(url, { headers: { Accept: type, ...heard(watch) }, credentials: "same-origin", signal: aborter.signal })
      .finally(() => clearTimeout(timer));
    patience = PATIENCE;
    if (!response.ok) throw new Error(`${url}: ${response.status}`);
    return response;
  }

  async function getPage(url, watch) {
    const response = await get(url, "text/html", watch);
    // Being sent elsewhere, to the login say, means that this region is not there any more.
    if (response.redirected) location.assign(response.url);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    showLocalTimes(page);
    return page;
  }

  // Times: the server writes UTC, the browser knows the reader's zone and language.

  const dates = new Intl.DateTimeFormat(undefined, {
    weekday: "short", day: "numeric", month: "short", hour: "numeric", minute: "2-digit",
  });
  const datesWithYear = new Intl.DateTimeFormat(undefined, {
    weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "numeric", minute: "2-digit",
  });

  function localTime(text) {
    const when = new Date(text);
    if (Number.isNaN(when.getTime())) return text;
    const format = when.getFullYear() === new Date().getFullYear() ? dates : datesWithYear;
    return format.format(when);
  }

  function showLocalTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      time.textContent = localTime(time.dateTime);
      time.title = new Date(time.dateTime).toUTCString();
    }
  }

  // Replacing what changed, and only that: focus, selections and what is being typed stay.

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id ? `#${node.id}` : null);
  const isTyping = (node) => node === document.activeElement && node.matches("input, textarea, select");

  /** Make `old` look like `fresh`, keeping the nodes that both have. Elements with an id are matched by it. */
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return old;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      const copy = document.importNode(fresh, true);
      old.replaceWith(copy);
      return copy;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return old;
    }
    if (isTyping(old)) return old;
    // Whether details are open is the reader's to say.
    const stays = (name) => name === "open" && old.matches("details");
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !stays(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    morphChildren(old, [...fresh.childNodes]);
    return old;
  }

  // What a script has put there, such as a button, is not the server's to take away.
  const pastAdded = (node) => {
    while (node?.nodeType === Node.ELEMENT_NODE && "added" in node.dataset) node = node.nextSibling;
    return node;
  };

  function morphChildren(parent, children) {
    const keyed = new Map();
    for (const child of parent.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
    let at = pastAdded(parent.firstChild);
    for (const child of children) {
      const key = keyOf(child);
      let match = key ? keyed.get(key) : at && !keyOf(at) ? at : null;
      if (!match) {
        parent.insertBefore(document.importNode(child, true), at);
        continue;
      }
      keyed.delete(key);
      if (match !== at) parent.insertBefore(match, at);
      else at = pastAdded(at.nextSibling);
      morph(match, child);
    }
    while (at) {
      const next = pastAdded(at.nextSibling);
      at.remove();
      at = next;
    }
  }

  // Regions.

  const refreshers = new Map();

  // Of regions that were put into the page by a script, and may leave it again.
  const followed = new WeakMap();

  function followRegion(region) {
    const { follow: channel, position } = region.dataset;
    const watches = [];
    const refresh = oneAtATime(async () => {
      if (!region.isConnected) return;
      const fresh = (await getPage(region.dataset.source, watches)).getElementById(region.id);
      if (!fresh) return;
      const focused = document.activeElement;
      morph(region, fresh);
      // A row that moves loses the focus that is in it.
      if (focused !== document.activeElement && focused?.isConnected) focused.focus();
    });
    refreshers.set(region.id, refresh);
    const take = region.matches(".progress") ? (data) => showProgress(region, data) : undefined;
    const positions = position.split(" ");
    for (const [place, one] of channel.split(" ").entries()) watches.push(follow(one, positions[place] ?? "", refresh, take));
    followed.set(region, watches);
  }

  function unfollowRegion(region) {
    for (const watch of followed.get(region) ?? []) watch?.cancel();
  }

  // Progress, in the words of `components/progress.html`.

  const STATES = { running: "Running", done: "Done", failed: "Failed, will be tried again", "given up": "Given up" };

  /** Show what a job tells; false for what is none of it. */
  function showProgress(region, { state, done, total, words }) {
    if (!Object.hasOwn(STATES, state)) return false;
    region.dataset.state = state;
    const bar = region.querySelector("progress");
    const share = state === "done" ? 1 : total > 0 ? Math.min(1, done / total) : null;
    if (share === null) {
      bar.removeAttribute("value");
    } else {
      bar.max = 1;
      bar.value = share;
    }
    region.querySelector(".progress-share").textContent = share === null ? "" : `${Math.floor(100 * share)} %`;
    region.querySelector(".progress-words").textContent = words;
    // Not said again with each step.
    const said = region.querySelector(".progress-state");
    if (said.textContent !== STATES[state]) said.textContent = STATES[state];
    return true;
  }

  // Forms: what is wrong is said at its field.

  function showError(form, field, message) {
    const input = form.elements.namedItem(field);
    if (!input) return;
    const note = document.createElement("p");
    note.className = "error";
    note.id = `${input.id}-error`;
    note.textContent = message;
    input.after(note);
    input.setAttribute("aria-invalid", "true");
    const hint = document.getElementById(`${input.id}-hint`);
    input.setAttribute("aria-describedby", hint ? `${hint.id} ${note.id}` : note.id);
    input.focus();
  }

  function clearErrors(form) {
    for (const note of form.querySelectorAll(".field .error")) note.remove();
    for (const input of form.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
      const hint = document.getElementById(`${input.id}-hint`);
      if (hint) input.setAttribute("aria-describedby", hint.id);
      else input.removeAttribute("aria-describedby");
    }
  }

  // Forms that stay on the page.

  function send(form, type, submitter) {
    const fields = new URLSearchParams(new FormData(form));
    if (submitter?.name) fields.set(submitter.name, submitter.value);
    // `form.action` would be a field of that name, if there were one.
    const action = form.getAttribute("action");
    return fetch(action, { method: "POST", body: fields, headers: { Accept: type }, credentials: "same-origin" });
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("form[data-refresh]")) return;
    event.preventDefault();
    const notice = document.getElementById("notice");
    try {
      const response = await send(form, "application/json", event.submitter);
      if (response.status === 401) return void location.assign("/login");
      const answer = await response.json();
      notice.textContent = response.ok ? "" : `${answer.error} ${answer.next}`;
      await refreshers.get(form.dataset.refresh)();
    } catch (error) {
      notice.textContent = "That could not be sent. Check your connection and try again.";
    }
  });

  // Dialogs: the form is the linked page's own.

  document.addEventListener("click", async (event) => {
    const link = event.target instanceof Element && event.target.closest("a[data-dialog]");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || typeof HTMLDialogElement === "undefined") return;
    event.preventDefault();
    try {
      openDialog((await getPage(link.href)).getElementById(link.dataset.dialog));
    } catch (error) {
      location.assign(link.href);
    }
  });

  /** done: called when its form was taken. */
  function openDialog(content, done = () => refreshers.get("events")?.()) {
    const dialog = document.createElement("dialog");
    dialog.className = "panel";
    dialog.append(document.adoptNode(content));
    label(dialog);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => {
      if (!(event.target instanceof Element) || !event.target.closest("[data-close]")) return;
      event.preventDefault();
      dialog.close();
    });
    dialog.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = event.submitter ?? dialog.querySelector("button");
      if (button.disabled) return;
      button.disabled = true;
      try {
        const response = await send(event.target, "text/html");
        if (response.redirected) {
          dialog.close();
          await Promise.resolve(done()).catch(() => location.reload());
          return;
        }
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const again = page.getElementById(content.id);
        dialog.replaceChildren(document.adoptNode(again ?? page.getElementById("main")));
        label(dialog);
        (dialog.querySelector("[aria-invalid]") ?? dialog.querySelector("input:not([type=hidden]), textarea"))?.focus();
      } catch (error) {
        button.disabled = false;
        const note = dialog.querySelector(".notice") ?? document.createElement("p");
        note.className = "notice";
        note.setAttribute("role", "alert");
        note.textContent = "That could not be sent. Check your connection and try again.";
        button.after(note);
      }
    });
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("input:not([type=hidden]), textarea")?.focus();
  }

  function label(dialog) {
    const title = dialog.querySelector("h1");
    if (!title) return;
    title.id = "dialog-title";
    dialog.setAttribute("aria-labelledby", title.id);
  }

  // Storage is refused in some private windows; nothing depends on it.

  function remember(name, value) {
    try {
      localStorage.setItem(`fanfare.${name}`, value);
    } catch (refused) {
      // As said above.
    }
  }

  function remembered(name) {
    try {
      return localStorage.getItem(`fanfare.${name}`) ?? "";
    } catch (refused) {
      return "";
    }
  }

  // For the scripts of features.
  window.Live = {
    POLL, CALM_POLL, clearErrors, follow: followRegion, get, getPage, insist, localTime, oneAtATime, openDialog, remember, remembered,
    send, showError, showLocalTimes, unfollow: unfollowRegion,
  };

  showLocalTimes(document);
  for (const region of document.querySelectorAll("[data-follow]")) followRegion(region);
})();
