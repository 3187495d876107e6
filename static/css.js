// The whole style sheets, once the page is shown: what comes into it later may need any rule, and the browser has them
// for the next page. Each goes where its part stands, so that what wins stays the same.

(() => {
  "use strict";
  for (const part of document.querySelectorAll("style[data-href]")) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = part.dataset.href;
    if (part.media) link.media = part.media;
    link.addEventListener("load", () => part.remove());
    part.after(link);
  }
})();
