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
  const form = document.querySelector("form[data-focus]");
  const image = form?.querySelector("input[type=image]");
  if (!image) return;
  const across = form.querySelector("[name=across]");
  const down = form.querySelector("[name=down]");
  const square = form.querySelector(".focus-square");
  const within = (value) => Math.min(100, Math.max(0, Math.round(value)));

  const mark = document.createElement("button");
  mark.type = "button";
  mark.className = "focus-mark";
  image.after(mark);
  // The mark is what is pressed now; the picture would save where it was clicked.
  image.tabIndex = -1;
  image.setAttribute("aria-hidden", "true");

  // Of what is too much on a side, how much is cut before the square: as geometry.py has it.
  const share = (whole, part, focus) =>
    whole <= part ? 50 : (100 * Math.min(whole - part, Math.max(0, (whole * focus) / 100 - part / 2))) / (whole - part);
  let preview;
  const draw = () => {
    if (!preview) {
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
  };
  const place = () => {
    mark.style.left = `${within(Number(across.value))}%`;
    mark.style.top = `${within(Number(down.value))}%`;
    mark.setAttribute(
      "aria-label",
      `The point: ${within(Number(across.value))} % from the left, ${within(Number(down.value))} % from above. Arrow keys move it.`,
    );
  };
  const move = (x, y) => {
    across.value = String(within(x));
    down.value = String(within(y));
    place();
    draw();
  };
  const follow = (event) => {
    const box = image.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width, (100 * (event.clientY - box.top)) / box.height);
  };

  const stage = image.parentElement;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    mark.focus();
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  image.addEventListener("click", (event) => event.preventDefault());
  mark.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    move(Number(across.value) + way[0], Number(down.value) + way[1]);
  });
  for (const number of [across, down]) {
    number.addEventListener("input", () => {
      place();
      draw();
    });
  }
  place();
})();
