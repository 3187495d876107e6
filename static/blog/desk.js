/*
 * The desk: shows the hub the token by which writers hear of drafts, and makes the editor's form save, preview and keep
 * what is typed without leaving the page. Without this script the form's own buttons do the same.
 *
 * What is typed is kept twice: in this browser at once (localStorage), and on the site a moment later (a draft).
 */
(() => {
  "use strict";

  // Milliseconds of quiet before the preview is asked for, and before a draft is kept; the longest while one types on.
  const PREVIEW = 350;
  const KEEP = 1500;
  const KEEP_LONGEST = 10000;
  // A time zone's field as the server sends it.
  const SERVER_ZONE = "UTC";
  const LOCAL = "fanfare.desk.";

  if (window.Fanout) {
    window.Fanout.configure({
      token: async () => {
        const response = await fetch("/manage/posts/token", { credentials: "same-origin" });
        return response.ok ? response.text() : null;
      },
    });
  }

  const form = document.getElementById("post-form");
  if (form) edit(form);

  function edit(form) {
    const field = (name) => form.elements.namedItem(name);
    const notice = document.getElementById("kept");
    const newer = document.getElementById("newer");
    const uid = field("uid").value;
    const TYPED = [
      "title", "text", "format", "slug", "summary", "categories", "keywords",
      "comments", "comments_until", "published_at", "zone",
    ];

    let asked = 0;

    showLocalZone();
    let sent = words();
    offerWhatWasKeptHere();

    // The first draft is not sooner than something is typed: a form that is only looked at leaves no trace.
    const preview = later(PREVIEW, showPreview);
    const keep = later(KEEP, keepDraft, KEEP_LONGEST);
    form.addEventListener("input", () => {
      keepHere();
      preview();
      keep();
    });
    form.addEventListener("submit", submit);
    if (newer) new MutationObserver(hideOwn).observe(newer, { attributeFilter: ["data-edition"], childList: true });
    form.addEventListener("keydown", (event) => {
      if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit(form.querySelector('button[value="save"]'));
      }
    });
    // Whoever closes the page has what they typed: at least here, and if there is time, on the site.
    document.addEventListener("visibilitychange", () => document.hidden && keep.now());

    function fields() {
      return new URLSearchParams(new FormData(form));
    }

    function words() {
      return Object.fromEntries(TYPED.map((name) => [name, field(name).value]));
    }

    function isSame(one, other) {
      const plain = (text) => (text ?? "").replace(/\r\n?/g, "\n").trim();
      return TYPED.every((name) => plain(one[name]) === plain(other[name]));
    }

    function post(url) {
      return fetch(url, { method: "POST", body: fields(), headers: { Accept: "application/json" }, credentials: "same-origin" });
    }

    // Preview: one at a time, and the last one that was asked for.

    async function showPreview() {
      const number = ++asked;
      const error = document.getElementById("preview-error");
      document.getElementById("preview-headline").textContent = field("title").value;
      try {
        const response = await post("/manage/posts/preview");
        const answer = await response.json();
        // A slower answer to what was typed before.
        if (number !== asked) return;
        error.textContent = answer.error ?? "";
        // The renderer has made it safe; when it can't, the last one stays.
        if (response.ok && !answer.error) {
          const made = new DOMParser().parseFromString(answer.html, "text/html");
          document.getElementById("preview").replaceChildren(...document.adoptNode(made.body).childNodes);
        }
      } catch (failure) {
        error.textContent = "The preview can’t be made now: the site can’t be reached.";
      }
      error.hidden = !error.textContent;
    }

    // Keeping what is typed.

    async function keepDraft() {
      const typed = words();
      if (isSame(typed, sent)) return;
      try {
        const response = await post("/manage/posts/drafts");
        if (!response.ok) throw new Error((await response.json()).error);
        const { saved_at: savedAt } = await response.json();
        sent = typed;
        notice.textContent = `Not saved yet; kept as a draft at ${clock(savedAt)}.`;
      } catch (failure) {
        notice.textContent = "Not saved yet; kept in this browser only, as the site can’t be reached.";
      }
    }

    function clock(text) {
      return new Intl.DateTimeFormat(undefined, { timeStyle: "short" }).format(new Date(text));
    }

    function keepHere() {
      remember(uid, { at: Date.now(), edition: field("edition").value, words: words() });
    }

    function offerWhatWasKeptHere() {
      const kept = remembered(uid);
      const place = document.getElementById("kept-here");
      const { shows } = form.dataset;
      // A reload is of the post, and no answer to what was done.
      if (shows === "done") history.replaceState(null, "", location.pathname);
      if (!kept) return;
      if (shows === "done" || isSame(kept.words, words())) {
        // What is not saved yet is kept on.
        if (shows) forget(uid);
        return;
      }
      const box = document.createElement("div");
      box.className = "banner";
      box.dataset.kind = "warning";
      const inner = document.createElement("div");
      const text = document.createElement("p");
      text.textContent = `This browser has kept other words for this post, typed ${new Date(kept.at).toLocaleString()}.`;
      const acts = document.createElement("div");
      acts.className = "kept-acts";
      acts.append(
        button("Take them", () => {
          for (const name of TYPED) if (name in kept.words) field(name).value = kept.words[name];
          place.hidden = true;
          form.dispatchEvent(new Event("input", { bubbles: true }));
          field("text").focus();
        }),
        button("Forget them", () => {
          forget(uid);
          place.hidden = true;
        }),
      );
      inner.append(text, acts);
      box.append(inner);
      place.replaceChildren(box);
      place.hidden = false;
    }

    function button(words, act) {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "button";
      made.textContent = words;
      made.addEventListener("click", act);
      return made;
    }

    // Saving. What can't be saved is sent again as a form: its page says why, and shows both texts if another was faster.

    async function submit(event) {
      const act = event.submitter;
      if (act?.name !== "do" || act.value !== "save" || form.action.endsWith("/preview")) return;
      event.preventDefault();
      if (form.dataset.busy) return;
      form.dataset.busy = "yes";
      const typed = words();
      try {
        const response = await post(form.getAttribute("action"));
        if (response.status === 409 || response.status === 422) return void form.submit();
        if (response.status === 413) {
          notice.textContent = "That is too long to be saved. What you typed is kept in this browser: divide it.";
          return;
        }
        if (response.status === 401 || response.status === 403) {
          notice.textContent = "You are signed out. Sign in again in another tab, then save; what you typed stays here.";
          return;
        }
        if (!response.ok) throw new Error(String(response.status));
        const answer = await response.json();
        sent = typed;
        if (isSame(typed, words())) forget(uid);
        field("edition").value = answer.edition;
        followNewer(answer);
        form.setAttribute("action", `/manage/posts/${answer.id}`);
        // What a reload shows.
        history.replaceState(null, "", `/manage/posts/${answer.id}`);
        notice.textContent = `${answer.done} ${clock(new Date().toISOString())}`;
      } catch (failure) {
        notice.textContent = "That could not be saved: the site can’t be reached. What you typed is kept in this browser.";
      } finally {
        delete form.dataset.busy;
      }
    }

    /** The part that says that another has saved the post asks for the edition that is ours now. */
    function followNewer(answer) {
      if (!newer) return void location.assign(`/manage/posts/${answer.id}?done=saved`);
      newer.dataset.source = `/manage/posts/${answer.id}/newer?edition=${answer.edition}`;
      hideOwn();
    }

    /** Our own save is told to us too, perhaps before its answer comes. */
    function hideOwn() {
      newer.hidden = Number(newer.dataset.edition) <= Number(field("edition").value);
    }

    // Times: the server writes UTC, the writer reads a clock.

    function showLocalZone() {
      const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
      const names = document.getElementById("zone-names");
      const isKnown = [...names.options].some((option) => option.value === zone);
      if (field("zone").value !== SERVER_ZONE || !isKnown) return;
      field("zone").value = zone;
      for (const name of ["published_at", "comments_until"]) {
        const input = field(name);
        if (!input.value) continue;
        const when = new Date(`${input.value}Z`);
        if (Number.isNaN(when.getTime())) continue;
        const two = (number) => String(number).padStart(2, "0");
        const day = [String(when.getFullYear()).padStart(4, "0"), two(when.getMonth() + 1), two(when.getDate())].join("-");
        input.value = `${day}T${two(when.getHours())}:${two(when.getMinutes())}`;
      }
    }
  }

  /** Call `work` after so much quiet, at the latest `longest` after it was asked for; never two at once. */
  function later(quiet, work, longest = Infinity) {
    let timer = 0;
    let since = 0;
    let running = null;
    let again = false;
    const run = () => {
      clearTimeout(timer);
      timer = 0;
      since = 0;
      if (running) {
        again = true;
        return;
      }
      running = work().finally(() => {
        running = null;
        if (again) {
          again = false;
          run();
        }
      });
    };
    const ask = () => {
      clearTimeout(timer);
      since ||= Date.now();
      timer = setTimeout(run, Math.max(0, Math.min(quiet, since + longest - Date.now())));
    };
    ask.now = () => timer && run();
    return ask;
  }

  // Storage is refused in some private windows; then the site's drafts are all there is.

  function remember(uid, value) {
    try {
      localStorage.setItem(LOCAL + uid, JSON.stringify(value));
    } catch (refused) {
      // As said above.
    }
  }

  function remembered(uid) {
    try {
      return JSON.parse(localStorage.getItem(LOCAL + uid));
    } catch (refused) {
      return null;
    }
  }

  function forget(uid) {
    try {
      localStorage.removeItem(LOCAL + uid);
    } catch (refused) {
      // As said above.
    }
  }
})();
