/*
 * Comments of a page. What is published of a thread is shown as it comes, and nothing is fetched for it: the hub hands
 * each page all that came after the position at which it was made, in order. Only where something may be missing the
 * list is fetched. What belongs above the place that is being read waits behind a button, so that nothing moves.
 *
 * #comments           the list; data-comments is where it is as JSON, data-order how it is sorted, data-start and
 *                     data-next where this page of it begins, and the next
 * #comment-form       posts without leaving the page, and is lent to who answers a comment
 * #comment-template   what a comment looks like
 * [data-counts]       says from which position on the numbers in [data-count-of], of threads, follow
 * #comment-news       says to who can't see it what has come
 */
(() => {
  "use strict";

  const words = (number) => `${number} comment${number === 1 ? "" : "s"}`;

  function followCounts({ counts, position }) {
    const versions = new Map();
    const show = ({ thread, count, version }) => {
      if (versions.get(thread) > version) return;
      versions.set(thread, version);
      for (const each of document.querySelectorAll(`[data-count-of="${thread}"]`)) each.textContent = words(count);
    };
    // What is missed is on the list when it is fetched.
    window.Fanout?.subscribe(counts, show, { position, raw: true, lost: () => {}, poll: 0, calmPoll: 0 });
  }

  const counts = document.querySelector("[data-counts]");
  if (counts) followCounts(counts.dataset);

  const list = document.getElementById("comments");
  if (!list || !window.Live) return;

  const { POLL, CALM_POLL, clearErrors, get, getPage, insist, localTime, oneAtATime, openDialog, remember, remembered, send, showError } = window.Live;
  const { channel, position, order, start, next } = list.dataset;
  const source = list.dataset.comments;
  const page = source.replace(/\/comments\.json.*$/, "");
  const template = document.getElementById("comment-template");
  const count = document.getElementById("comment-count");
  const news = document.getElementById("comment-news");
  const more = document.getElementById("new-comments");
  const nothing = document.getElementById("no-comments");

  /** The newest edition of each comment that this page knows of, also of those that are gone. */
  const editions = new Map();
  /** Comments that are not shown yet, by id; and how many came that belong on another page. */
  const waiting = new Map();
  let elsewhere = 0;
  /** How long each of the reader's own may be changed; ids. */
  const own = new Map();
  let isOpen = Boolean(document.getElementById("comment-form")) || Boolean(start);
  let watch = null;
  let newest = 0;
  /** What was published while the list was fetched: it may be newer than what comes of that. */
  let since = null;
  /** Whether the list is to be fetched for something that was published: that won't come twice, as a poll does. */
  let isTold = false;
  /** Forms on their way, and what was published meanwhile: the reader's own comment may be among that. */
  let sending = 0;
  let meanwhile = [];

  for (const row of list.querySelectorAll("[data-comment-id]")) {
    editions.set(Number(row.dataset.commentId), Number(row.dataset.edition));
  }

  // Where things stand.

  const rootOf = (comment) => comment.parent ?? comment.id;
  const rowOf = (id) => document.getElementById(`comment-${id}`);
  const threadOf = (root) => document.getElementById(`thread-${root}`);

  /** Less than 0 if the first stands before the second. Each is [root, id]. */
  function compare([root, id], [otherRoot, otherId]) {
    return root === otherRoot ? id - otherId : order === "newest" ? otherRoot - root : root - otherRoot;
  }

  const place = (text) => text.split("-").map(Number);
  const isBefore = (at, text) => Boolean(text) && compare(at, place(text)) < 0;
  const isHere = (at) => !isBefore(at, start) && (!next || isBefore(at, next));

  /** The list that a comment stands in, and what it stands before there; null if what it answers is not here. */
  function spotOf(comment) {
    const root = rootOf(comment);
    if (!comment.parent) {
      const after = [...list.children].find((each) => compare([root, 0], [Number(each.dataset.root), 0]) < 0);
      return { into: list, before: after ?? null };
    }
    const thread = threadOf(root);
    if (!thread) return null;
    const replies = thread.querySelector(".replies");
    const after = replies && [...replies.children].find((each) => Number(each.firstElementChild.dataset.commentId) > comment.id);
    return { into: replies ?? thread, before: after ?? null, thread };
  }

  /** Whether somebody reads, or writes, below where something would come. */
  function wouldMove(spot) {
    const isReading = list.getBoundingClientRect().top < 0 || list.contains(document.activeElement);
    if (!isReading) return false;
    const y = spot.before ? spot.before.getBoundingClientRect().top : spot.into.getBoundingClientRect().bottom;
    return y < window.innerHeight;
  }

  // What a comment looks like.

  // The server has cleaned it. If anybody else could publish here, they could still do no harm.
  const TAGS = new Set(["P", "BR", "HR", "STRONG", "EM", "S", "CODE", "PRE", "BLOCKQUOTE", "UL", "OL", "LI", "A"]);

  function cleaned(html) {
    const found = document.createDocumentFragment();
    const copy = (from, to) => {
      for (const node of from.childNodes) {
        if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
        if (node.nodeType !== Node.ELEMENT_NODE || !TAGS.has(node.tagName)) continue;
        const made = document.createElement(node.tagName);
        if (node.tagName === "A" && ["http:", "https:", "mailto:"].includes(node.protocol)) {
          made.href = node.href;
          made.rel = "nofollow ugc noopener noreferrer";
          if (node.title) made.title = node.title;
        }
        if (node.tagName === "OL" && node.start !== 1) made.start = node.start;
        if (node.tagName === "PRE") made.tabIndex = 0;
        copy(node, made);
        to.append(made);
      }
    };
    copy(new DOMParser().parseFromString(html, "text/html").body, found);
    return found;
  }

  function fill(row, comment) {
    const { id } = comment;
    const fresh = template.content.firstElementChild.cloneNode(true);
    row.id = `comment-${id}`;
    row.dataset.commentId = id;
    row.dataset.edition = comment.edition;
    delete row.dataset.gone;
    let name = fresh.querySelector(".comment-name");
    if (comment.parent) {
      // Replies are a level below.
      const lower = document.createElement("h4");
      lower.className = name.className;
      lower.append(...name.childNodes);
      name.replaceWith(lower);
      name = lower;
    }
    name.id = `by-${id}`;
    row.setAttribute("aria-labelledby", name.id);
    name.firstElementChild.textContent = comment.name;
    const answered = comment.answers && rowOf(comment.answers)?.querySelector(".comment-name bdi");
    if (answered) {
      const to = fresh.querySelector(".comment-to");
      to.hidden = false;
      to.querySelector("a").href = `#comment-${comment.answers}`;
      to.querySelector("bdi").textContent = answered.textContent;
    }
    const time = fresh.querySelector("time");
    time.dateTime = comment.posted_at;
    time.textContent = localTime(comment.posted_at);
    time.title = new Date(comment.posted_at).toUTCString();
    fresh.querySelector(".comment-link").href = `/comments/${id}`;
    fresh.querySelector(".comment-edited").hidden = !comment.edited_at;
    fresh.querySelector(".comment-held").hidden = !comment.held;
    row.classList.toggle("is-held", Boolean(comment.held));
    fresh.querySelector(".comment-text").replaceChildren(cleaned(comment.html));
    const reply = fresh.querySelector(".comment-reply");
    reply.href = `/comments/${id}/reply`;
    reply.querySelector("bdi").textContent = comment.name;
    if (!isOpen || comment.held) reply.remove();
    const edit = fresh.querySelector(".comment-edit");
    edit.href = `/comments/${id}/edit`;
    edit.hidden = !(own.get(id) > Date.now());
    row.replaceChildren(...fresh.childNodes);
    return row;
  }

  function insert(comment, isNew = true) {
    const spot = spotOf(comment);
    if (!spot) return null;
    const row = fill(template.content.firstElementChild.cloneNode(true), comment);
    const item = document.createElement("li");
    item.append(row);
    if (!comment.parent) {
      item.id = `thread-${comment.id}`;
      item.className = "thread";
      item.dataset.root = comment.id;
    } else if (spot.into === spot.thread) {
      const replies = document.createElement("ol");
      replies.className = "replies";
      const name = spot.thread.querySelector(".comment-name bdi");
      if (name) replies.setAttribute("aria-label", `Replies to ${name.textContent}`);
      spot.thread.append(replies);
      spot.into = replies;
    }
    if (isNew) row.classList.add("is-new");
    spot.into.insertBefore(item, spot.before);
    nothing.hidden = true;
    return row;
  }

  // What is published.

  /** Show a comment, or keep it until it is asked for. Returns whether this page did not know it. */
  function put(comment, { isOwn = false } = {}) {
    const known = editions.get(comment.id);
    if (known >= comment.edition) return false;
    editions.set(comment.id, comment.edition);
    const row = rowOf(comment.id);
    if (row) {
      fill(row, comment);
      row.classList.add("is-new");
      return false;
    }
    if (waiting.has(comment.id)) {
      waiting.set(comment.id, comment);
      return false;
    }
    const spot = isHere([rootOf(comment), comment.id]) ? spotOf(comment) : null;
    if (spot && (isOwn || !wouldMove(spot))) {
      insert(comment);
    } else if (spot || waiting.has(comment.parent)) {
      waiting.set(comment.id, comment);
    } else if (start && known === undefined) {
      elsewhere += 1;
    }
    return known === undefined;
  }

  function drop(id, edition, replies = 0) {
    if (editions.get(id) >= edition) return;
    editions.set(id, edition);
    waiting.delete(id);
    const row = rowOf(id);
    if (!row) return;
    const box = row.getBoundingClientRect();
    const isStill = list.getBoundingClientRect().top < 0 && box.top < window.innerHeight;
    if (!replies && !isStill) {
      const inner = row.parentElement.parentElement;
      row.parentElement.remove();
      if (inner.matches(".replies") && !inner.children.length) inner.remove();
      nothing.hidden = list.children.length > 0;
      return;
    }
    // As high as it was: what is below it is being read.
    if (isStill) row.style.minHeight = `${box.height}px`;
    const said = document.createElement(row.closest(".replies") ? "h4" : "h3");
    said.className = "comment-gone";
    said.textContent = replies ? "This comment was taken away. What answers it is below." : "This comment was taken away.";
    row.dataset.gone = "";
    row.dataset.edition = edition;
    row.removeAttribute("aria-labelledby");
    row.replaceChildren(said);
  }

  function close() {
    isOpen = false;
    for (const each of list.querySelectorAll(".comment-reply")) each.remove();
    for (const form of document.querySelectorAll(".comment-form")) {
      form.querySelector(".notice").textContent = "This discussion was closed just now.";
      form.querySelector("button").disabled = true;
    }
  }

  /** What was published last, to who can't see it; once. */
  function announce(names) {
    if (names.length === 1) news.textContent = `New comment from ${names[0]}`;
    else if (names.length) news.textContent = `${names.length} new comments, the last from ${names.at(-1)}`;
  }

  function showMore() {
    const number = waiting.size + elsewhere;
    more.hidden = !number;
    if (number) more.textContent = `${number} new comment${number === 1 ? "" : "s"}`;
  }

  /** version: of what is published, which may come in another order than it was counted. */
  function showCount(number, version = newest) {
    if (version < newest) return;
    newest = version;
    count.textContent = number;
  }

  function take(data) {
    if (sending) return void meanwhile.push(data);
    since?.push(data);
    if (data?.comment) {
      if (put(data.comment) && !own.has(data.comment.id)) announce([data.comment.name]);
    } else if (data?.gone) {
      drop(data.gone, data.edition, data.replies);
    } else if (data?.open === false) {
      return close();
    } else {
      // Not at once: many may come, and every page is told. One that nobody looks at waits until it is shown.
      isTold = true;
      return watch.refresh();
    }
    showCount(data.count, data.version);
    return showMore();
  }

  // What was missed.

  const refresh = oneAtATime(async () => {
    since = [];
    try {
      const answer = await (await get(source, "application/json", watch)).json();
      const later = since;
      since = null;
      showList(answer);
      later.forEach(take);
    } finally {
      since = null;
    }
  });

  function fetchList() {
    const wasTold = isTold;
    isTold = false;
    return wasTold ? insist(refresh) : refresh();
  }

  function showList({ comments, total, older, open }) {
    const end = older && new URL(older, location.href).searchParams.get("start");
    const found = new Set(comments.map(({ id }) => id));
    for (const row of list.querySelectorAll("[data-comment-id]")) {
      const id = Number(row.dataset.commentId);
      const root = Number(row.closest(".thread").dataset.root);
      const isKnown = found.has(id) || row.matches(".is-held") || (end && !isBefore([root, id], end));
      if (!isKnown) drop(id, editions.get(id) + 0.5);
    }
    const names = [];
    for (const comment of comments) {
      if (comment.gone) drop(comment.id, comment.edition, 1);
      else if (put(comment) && !own.has(comment.id)) names.push(comment.name);
    }
    announce(names);
    showCount(total);
    if (!open && isOpen) close();
    showMore();
  }

  if (window.Fanout) {
    watch = window.Fanout.subscribe(channel, take, { position, raw: true, lost: fetchList, poll: POLL, calmPoll: CALM_POLL });
  } else {
    setInterval(() => document.hidden || refresh().catch(() => {}), POLL * 1000);
  }

  // How many have this page open. The hub counts them, and knows no more of them; where it doesn't count, nothing is said.

  const reading = document.getElementById("reading-now");

  async function countReaders() {
    const answer = await fetch(`/presence?channel=${encodeURIComponent(channel)}`, { cache: "no-store" });
    if (!answer.ok) return null;
    const state = await answer.json();
    const show = ({ count: number }) => (reading.textContent = number > 1 ? `${number} reading now` : "");
    show(state);
    return { show, position: state.position };
  }

  async function followReaders() {
    const state = await countReaders();
    if (!state) return;
    const options = { position: state.position, raw: true, lost: countReaders, poll: 0, calmPoll: 0 };
    window.Fanout.subscribe(`presence/${channel}`, state.show, options);
  }

  if (window.Fanout) followReaders().catch(() => {});

  more.addEventListener("click", () => {
    if (elsewhere) return void location.assign(`${page}#comments-title`);
    const rows = [...waiting.values()].sort((a, b) => a.id - b.id).map((comment) => insert(comment)).filter(Boolean);
    waiting.clear();
    showMore();
    const first = rows.sort((a, b) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1)[0];
    if (!first) return;
    first.tabIndex = -1;
    first.focus({ preventScroll: true });
    first.scrollIntoView({ block: "center" });
  });

  // Writing.

  /** Send a form, and look at what was published after its answer is known; or after a while, if none comes. */
  async function sendOwn(form) {
    sending += 1;
    let isOver = false;
    const end = () => {
      if (isOver) return;
      isOver = true;
      sending -= 1;
      if (sending) return;
      const waited = meanwhile;
      meanwhile = [];
      waited.forEach(take);
    };
    const timer = setTimeout(end, 3000);
    try {
      const response = await send(form, "application/json");
      const answer = await response.json();
      if (response.ok) own.set(answer.comment.id, Date.parse(answer.until));
      return { response, answer };
    } finally {
      clearTimeout(timer);
      // After who called has shown it.
      setTimeout(end);
    }
  }

  /** A name for what is sent, so that what is sent twice is one comment. */
  const newKey = () => `own-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;

  // Proof of work (ALTCHA 2), where the site asks for it: the form carries challenge and solution.

  const toBytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const toHex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  /** Fetch and solve a challenge: the form field's text, and when it expires. Keys are derived off the main thread. */
  async function solve(path) {
    const challenge = await (await get(path, "application/json")).json();
    const { nonce, salt, cost, keyLength, keyPrefix, expiresAt } = challenge.parameters;
    const password = new Uint8Array(nonce.length / 2 + 4);
    password.set(toBytes(nonce));
    const options = { name: "PBKDF2", hash: "SHA-256", salt: toBytes(salt), iterations: cost };
    for (let counter = 0; ; counter += 1) {
      new DataView(password.buffer).setUint32(nonce.length / 2, counter);
      const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
      const derivedKey = toHex(new Uint8Array(await crypto.subtle.deriveBits(options, key, keyLength * 8)));
      if (!derivedKey.startsWith(keyPrefix)) continue;
      return { expiresAt, text: btoa(JSON.stringify({ challenge, solution: { counter, derivedKey } })) };
    }
  }

  /** Solve a challenge from the first input on. The function returned gives its text, once; "" if the browser can't. */
  function worker(form) {
    const path = form.dataset.work;
    let work = null;
    // The comment is then held for a moderator, with the reason.
    const begin = () => path && (work ??= solve(path).catch(() => ({ expiresAt: Infinity, text: "" })));
    form.addEventListener("input", begin);
    return async function take() {
      if (!path) return "";
      let done = await begin();
      work = null;
      if (done.expiresAt * 1000 < Date.now() + 10_000) {
        done = await begin();
        work = null;
      }
      return done.text;
    };
  }

  function takeForm(form, done = () => {}) {
    const notice = form.querySelector(".notice");
    const button = form.querySelector("button");
    const name = form.elements.namedItem("name");
    const text = form.elements.namedItem("text");
    const key = document.createElement("input");
    key.type = "hidden";
    key.name = "key";
    key.value = newKey();
    form.append(key);
    const work = form.dataset.work ? key.cloneNode() : null;
    const takeWork = worker(form);
    if (work) {
      work.name = "work";
      work.value = "";
      form.append(work);
    }
    if (!name.value) name.value = remembered("name");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      notice.textContent = "";
      clearErrors(form);
      try {
        if (work) {
          notice.textContent = "Sending…";
          work.value = await takeWork();
          notice.textContent = "";
        }
        const { response, answer } = await sendOwn(form);
        if (!response.ok) {
          for (const [field, message] of Object.entries(answer.fields ?? {})) showError(form, field, message);
          notice.textContent = `${answer.error} ${answer.next}`;
          return;
        }
        key.value = newKey();
        text.value = "";
        remember("name", name.value);
        const { comment, held } = answer;
        if (held) {
          insert({ ...comment, held });
        } else {
          put(comment, { isOwn: true });
        }
        showMore();
        notice.textContent = held ? "A moderator will look at it first." : "Posted.";
        done(comment);
      } catch (error) {
        notice.textContent = "The comment could not be sent. Check your connection and try again; it is still here.";
      } finally {
        button.disabled = !isOpen;
      }
    });
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
  }

  const main = document.getElementById("comment-form");
  let reply = null;

  /** The form again, below the comment that is answered. What was begun comes along. */
  function answer(row) {
    const link = row.querySelector(".comment-reply");
    const form = main.cloneNode(true);
    form.id = "reply-form";
    for (const each of form.querySelectorAll("input[name=key], input[name=work]")) each.remove();
    clearErrors(form);
    for (const each of form.querySelectorAll("[id]")) each.id = `reply-${each.id}`;
    for (const label of form.querySelectorAll("label")) label.htmlFor = `reply-${label.htmlFor}`;
    for (const each of form.querySelectorAll("[aria-describedby]")) {
      each.setAttribute("aria-describedby", each.getAttribute("aria-describedby").replace(/\S+/g, "reply-$&"));
    }
    form.querySelector(".notice").textContent = "";
    form.elements.namedItem("parent").value = row.dataset.commentId;
    const text = form.elements.namedItem("text");
    text.value = reply?.form.elements.namedItem("text").value ?? "";
    form.querySelector(`label[for="${text.id}"]`).textContent = "Reply";
    const button = form.querySelector("button");
    button.textContent = "Post reply";
    button.disabled = false;
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.className = "button";
    cancel.textContent = "Cancel";
    button.after(cancel);
    reply?.form.remove();
    reply = { form, link };
    const end = (comment) => {
      form.remove();
      reply = null;
      const row = comment && rowOf(comment.id);
      if (row) row.tabIndex = -1;
      (row ?? link).focus();
    };
    cancel.addEventListener("click", () => end());
    form.addEventListener("keydown", (event) => event.key === "Escape" && !text.value && end());
    takeForm(form, end);
    row.after(form);
    text.focus();
  }

  list.addEventListener("click", async (event) => {
    const link = event.target instanceof Element && event.target.closest(".comment-reply, .comment-edit");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain) return;
    if (link.matches(".comment-reply")) {
      if (!main) return;
      event.preventDefault();
      answer(link.closest("[data-comment-id]"));
      return;
    }
    if (typeof HTMLDialogElement === "undefined") return;
    event.preventDefault();
    try {
      openDialog((await getPage(link.href)).getElementById("edit-comment"), refresh);
    } catch (error) {
      location.assign(link.href);
    }
  });

  if (main) takeForm(main);
})();
