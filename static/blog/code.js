/* A button in each block of a post's code that copies it. What a live edit puts on the page gets one too. */
(() => {
  "use strict";

  const post = document.getElementById("post");
  if (!post) return;

  const SAID_FOR = 2000;

  /** Without the browser's clipboard, as on plain http, the code is selected and copied as by hand. */
  async function copy(code) {
    try {
      await navigator.clipboard.writeText(code.textContent.replace(/\n$/, ""));
      return true;
    } catch (refused) {
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  }

  function onlyRead(text) {
    const span = document.createElement("span");
    span.className = "only-read";
    span.textContent = text;
    return span;
  }

  /** The button, and what tells who can't see it what it did. */
  function made(pre) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button copy-code";
    const rest = ["Copy", onlyRead(" this code")];
    button.append(...rest);
    const said = onlyRead("");
    said.setAttribute("role", "status");
    // It is no part of what the server sends, and stays when that changes.
    for (const each of [button, said]) each.dataset.added = "";
    let timer = 0;
    button.addEventListener("click", async () => {
      const isCopied = await copy(pre.querySelector("code") ?? pre);
      button.textContent = isCopied ? "Copied" : "Selected";
      said.textContent = isCopied ? "Copied" : "The code is selected, for you to copy.";
      clearTimeout(timer);
      timer = setTimeout(() => {
        button.replaceChildren(...rest);
        said.textContent = "";
      }, SAID_FOR);
    });
    return [button, said];
  }

  function addButtons() {
    for (const pre of post.querySelectorAll(".post-text pre")) {
      if (!pre.querySelector(".copy-code")) pre.append(...made(pre));
    }
  }

  addButtons();
  new MutationObserver(addButtons).observe(post, { childList: true, subtree: true });
})();
