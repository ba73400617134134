// Files that are chosen, or dropped on a part of the page.

export const isFile = (event) => Boolean(event.dataTransfer?.types.includes("Files"));

/** Have `accept(file)` called with a file that is dropped on `box`, or chosen with the input in it. */
export function acceptFiles(box, accept) {
  const input = box.querySelector("input[type=file]");
  const take = () => {
    const [file] = input.files;
    if (file) accept(file);
    input.value = ""; // so that the same one can be chosen again
  };
  input?.addEventListener("change", take);
  // It may have been chosen before the script ran; the page's script is not at its end yet.
  if (input?.files.length) queueMicrotask(take);
  box.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    box.classList.add("is-over");
  });
  box.addEventListener("dragleave", (event) => box.contains(event.relatedTarget) || box.classList.remove("is-over"));
  box.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    box.classList.remove("is-over");
    const [file] = event.dataTransfer.files;
    if (file) accept(file);
  });
}
