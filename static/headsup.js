/* Setting up: names of repositories as one types, what is behind a name, and buttons that copy. All of it is a help. */
(() => {
  "use strict";

  // Milliseconds of quiet before anybody is asked.
  const QUIET = 300;

  async function ask(url, name, value) {
    const address = new URL(url, location.href);
    address.searchParams.set(name, value);
    const response = await fetch(address, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    return response.ok ? response.json() : null;
  }

  for (const input of document.querySelectorAll("input[data-names]")) {
    const list = document.getElementById(input.getAttribute("list"));
    const preview = document.getElementById("name-preview");
    let timer = 0;
    let asked = "";
    input.addEventListener("input", () => {
      clearTimeout(timer);
      preview.textContent = "";
      // From two letters of the name on: an owner may have thousands.
      if (!/^[^/\s]+\/[^/\s]{2,}$/.test(input.value)) return;
      timer = setTimeout(async () => {
        asked = input.value;
        const found = await ask(input.dataset.names, "begins", asked).catch(() => null);
        if (!found || asked !== input.value) return;
        list.replaceChildren(...found.names.map((name) => Object.assign(document.createElement("option"), { value: name })));
      }, QUIET);
    });
    input.addEventListener("change", async () => {
      const value = input.value.trim();
      if (!/^[^/\s]+\/[^/\s]+$/.test(value)) return;
      const found = await ask(input.dataset.preview, "full_name", value).catch(() => null);
      if (!found || input.value.trim() !== value) return;
      preview.textContent = found.project
        ? `Found at GitHub: ${found.project.full_name}${found.project.description ? `: ${found.project.description}` : ""}`
        : "GitHub shows no such repository to everybody. A private one, or another forge’s, can be watched all the same.";
    });
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    const words = [...button.childNodes];
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.replaceChildren("Copied");
        setTimeout(() => button.replaceChildren(...words), 2000);
      } catch (refused) {
        getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      }
    });
  }
})();
