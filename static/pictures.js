// A picture that is dropped on its form, or pasted anywhere on the page, goes into the form's field. Without this the
// field does it. The point that crops keep in sight is a mark on the picture, moved by a pointer or by arrow keys, with
// the square as it will be; without this a click on the picture saves it, or two numbers.

(() => {
  "use strict";
  const form = document.querySelector("form[data-drop]");
  const field = form?.querySelector("input[type=file]");
  if (!field) return;
  const take = (files) => {
    const pictures = [...files].filter((file) => file.type.startsWith("image/"));
    if (!pictures.length) return false;
    const chosen = new DataTransfer();
    chosen.items.add(pictures[0]);
    field.files = chosen.files;
    field.focus();
    return true;
  };
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData && take(event.clipboardData.files)) event.preventDefault();
  });
})();

(() => {
  "use strict";
  const region = document.getElementById("picture");
  if (!region) return;
  const within = (value) => Math.min(100, Math.max(0, Math.round(value)));

  // The region is replaced when the picture changes: what it has is looked for each time.
  function parts() {
    const form = region.querySelector("form[data-focus]");
    const image = form?.querySelector("input[type=image]");
    if (!image) return null;
    const found = (selector) => form.querySelector(selector);
    return {
      image, mark: found(".focus-mark"), across: found("[name=across]"), down: found("[name=down]"), square: found(".focus-square"),
    };
  }

  // Of what is too much on a side, how much is cut before the square: as geometry.py has it.
  const share = (whole, part, focus) =>
    whole <= part ? 50 : (100 * Math.min(whole - part, Math.max(0, (whole * focus) / 100 - part / 2))) / (whole - part);
  let preview;
  function draw({ image, across, down, square }) {
    if (!preview?.isConnected) {
      preview = document.createElement("img");
      preview.src = image.src;
      preview.alt = "";
      preview.width = preview.height = 174;
      const place = document.createElement("div");
      place.className = "crop";
      place.append(preview);
      square.querySelector(".crop")?.remove();
      square.prepend(place);
      square.querySelector("figcaption").textContent = "The square, once it is saved";
    }
    const part = Math.min(image.width, image.height);
    const x = share(image.width, part, Number(across.value));
    const y = share(image.height, part, Number(down.value));
    preview.style.objectPosition = `${x}% ${y}%`;
  }
  function place({ mark, across, down }) {
    mark.style.left = `${within(Number(across.value))}%`;
    mark.style.top = `${within(Number(down.value))}%`;
    mark.textContent = "";
    mark.setAttribute(
      "aria-label",
      `The point: ${within(Number(across.value))} % from the left, ${within(Number(down.value))} % from above. Arrow keys move it.`,
    );
  }
  function move(x, y) {
    const all = parts();
    if (!all) return;
    all.across.value = String(within(x));
    all.down.value = String(within(y));
    place(all);
    draw(all);
  }
  function follow(event) {
    const box = parts()?.image.getBoundingClientRect();
    if (box) move((100 * (event.clientX - box.left)) / box.width, (100 * (event.clientY - box.top)) / box.height);
  }

  const stageOf = (event) => event.target instanceof Element && event.target.closest(".focus-whole");
  region.addEventListener("pointerdown", (event) => {
    const stage = stageOf(event);
    if (!stage || event.button !== 0) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    parts()?.mark.focus();
    follow(event);
  });
  region.addEventListener("pointermove", (event) => {
    if (stageOf(event)?.hasPointerCapture(event.pointerId)) follow(event);
  });
  region.addEventListener("click", (event) => {
    if (event.target.matches("input[type=image]")) event.preventDefault();
  });
  region.addEventListener("keydown", (event) => {
    if (!event.target.matches(".focus-mark")) return;
    const step = event.shiftKey ? 10 : 1;
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    const { across, down } = parts();
    move(Number(across.value) + way[0], Number(down.value) + way[1]);
  });
  region.addEventListener("input", (event) => {
    if (!event.target.matches("[name=across], [name=down]")) return;
    const all = parts();
    if (!all) return;
    place(all);
    draw(all);
  });

  function show() {
    const all = parts();
    if (!all || all.mark.hasAttribute("aria-label")) return;
    // The mark is what is pressed now; the picture would save where it was clicked.
    all.image.tabIndex = -1;
    all.image.setAttribute("aria-hidden", "true");
    place(all);
    // What was pointed at and is not saved yet.
    if (all.across.value !== all.across.defaultValue || all.down.value !== all.down.defaultValue) draw(all);
  }
  document.documentElement.classList.add("has-mark");
  // As the server has it the mark has no words: so it is after each change of the region.
  new MutationObserver(show).observe(region, { subtree: true, childList: true, attributeFilter: ["aria-label"] });
  show();
})();
