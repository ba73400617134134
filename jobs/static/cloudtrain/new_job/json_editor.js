// A field for JSON: lines with their numbers, checked as one types, the error marked at its line; files can be dropped on it.

import { Numeral, placesIn, readJson } from "./json_check.js";

const CHECK_MS = 250;
// As the server has it.
const MOST_BYTES = 1_000_000;
const KINDS = {
  object: {
    is: (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Numeral),
    message: "A config is a JSON object: it begins with { and ends with }.",
  },
  list: { is: Array.isArray, message: "A dataloader config is a JSON list: it begins with [ and ends with ]." },
};

/**
 * Make `box` such a field. It has a textarea, `.editor-lines`, `.editor-problem`, an optional file input and, in its
 * `data-kind`, which JSON it takes. `changed()` is called when what it holds has been checked.
 */
export function jsonEditor(box, changed) {
  const field = box.querySelector("textarea");
  const lines = box.querySelector(".editor-lines");
  const problemBox = box.querySelector(".editor-problem");
  const findingsBox = box.querySelector(".editor-findings");
  const kind = KINDS[box.dataset.kind];
  let state;
  let refused = null; // what the server says of this very text
  let checking = 0;
  let before = null; // the lines of the text that it is compared with

  function number() {
    const texts = field.value.split("\n");
    showNumbers(texts.length);
    if (before) texts.forEach((text, index) => lines.children[index].classList.toggle("is-changed", isNew(text)));
  }

  const bare = (text) => text.trim().replace(/,$/, "");
  const isNew = (text) => Boolean(text.trim()) && !before.has(bare(text));

  function showNumbers(count) {
    if (lines.childElementCount === count) return;
    const numbers = Array.from({ length: count }, (_, index) => {
      const line = document.createElement("span");
      line.textContent = index + 1;
      return line;
    });
    lines.replaceChildren(...numbers);
  }

  function check() {
    clearTimeout(checking);
    checking = 0;
    state = judged();
    refused = null;
    show();
    changed();
  }

  const judged = () => (field.value.trim() ? judge(field.value) : { isEmpty: true });

  function judge(text) {
    if (new Blob([text]).size > MOST_BYTES) return { problem: { message: "It is larger than 1 MB." } };
    const { value, problem } = readJson(text);
    if (problem) return { problem };
    return kind.is(value) ? { text } : { problem: { message: kind.message, line: 1, column: 1, at: 0 } };
  }

  function show() {
    const { problem = refused } = state;
    number();
    lines.querySelector(".is-wrong")?.classList.remove("is-wrong");
    if (problem?.line) lines.children[problem.line - 1]?.classList.add("is-wrong");
    problemBox.replaceChildren();
    problemBox.hidden = !problem;
    if (problem) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    if (!problem) return;
    problemBox.append(problem.line ? pointer(problem) : "", problem.message);
  }

  function pointer({ line, column, at }) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = `Line ${line}, column ${column}:`;
    button.title = "Go there";
    button.addEventListener("click", () => goTo(line, at, at + 1));
    return button;
  }

  function goTo(line, start, end) {
    field.focus();
    field.setSelectionRange(start, Math.min(end, field.value.length));
    const height = parseFloat(getComputedStyle(field).lineHeight);
    field.scrollTop = Math.max(0, (line - 3) * height);
  }

  /** Show what looks like a mistake: pairs of a JSON pointer into the text and a sentence. */
  function showFindings(findings) {
    const places = findings.length && state.text ? placesIn(state.text) : new Map();
    findingsBox.hidden = !findings.length;
    findingsBox.replaceChildren(...findings.map(([place, text]) => finding(places.get(place), text)));
  }

  function finding(at, text) {
    const item = document.createElement("li");
    if (at === undefined) {
      item.textContent = text;
      return item;
    }
    const line = field.value.slice(0, at).split("\n").length;
    const end = field.value.slice(at).search(/[\n:,{[]/);
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link" });
    button.textContent = `Line ${line}`;
    button.title = "Go there";
    button.addEventListener("click", () => goTo(line, at, end < 0 ? field.value.length : at + end));
    item.append(button, `: ${text}`);
    return item;
  }

  async function loadFile(file) {
    if (file.size > MOST_BYTES) return showMessage(`${file.name} is larger than 1 MB.`);
    const text = await file.text();
    if (text.includes("\u0000") || text.includes("\ufffd")) return showMessage(`${file.name} is not a text file.`);
    set(text.replace(/^\ufeff/, ""));
    box.dispatchEvent(new CustomEvent("took", { detail: file.name }));
  }

  // Said of what was brought, and not of what is in the field.
  function showMessage(message) {
    problemBox.replaceChildren(message);
    problemBox.hidden = false;
  }

  function set(text) {
    field.value = text;
    field.scrollTop = 0;
    check();
  }

  field.addEventListener("input", () => {
    number();
    clearTimeout(checking);
    checking = setTimeout(check, CHECK_MS);
  });
  field.addEventListener("blur", () => checking && check());
  field.addEventListener("scroll", () => {
    lines.scrollTop = field.scrollTop;
  });
  acceptFiles(box, loadFile);
  // It may have been typed before the script ran.
  state = judged();
  show();

  return {
    field,
    set,
    /** Mark the lines that `text` doesn't have. */
    compareWith(text) {
      before = new Set(text.split("\n").map(bare));
      number();
    },
    /** `{ isEmpty }`, `{ text }`, which is right JSON, or `{ problem }` of what is in the field now. */
    read() {
      if (checking) check();
      return state;
    },
    showFindings,
    /** Show what the server says of it; null: nothing. */
    refuse(message) {
      refused = message ? { message } : null;
      show();
    },
  };
}

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
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
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
