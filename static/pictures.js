// A picture that is dropped on its form, or pasted anywhere on the page, goes into the form's field. Without this the
// field does it.

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
