// The editor of a config: checked as one types, mistakes marked at their place and listed below it, files taken.

import { EditorView, forceParsing, setDiagnostics, syntaxTree } from "../vendor/codemirror-6/codemirror.min.js";
import { codeView } from "./code_view.js";
import { acceptFiles, isFile } from "./files.js";
import { placesIn, problemIn } from "./json_problems.js";

const CHECK_MS = 250;
// Longer parsing would be felt in the typing; the rest is parsed when the browser has drawn.
const SLICE_MS = 20;
const WHOLE_MS = 5_000;
// As the server has it.
const MOST_BYTES = 1_000_000;
const KINDS = {
  object: ["{", "A config is a JSON object: it begins with { and ends with }."],
  list: ["[", "A dataloader config is a JSON list: it begins with [ and ends with ]."],
};

/**
 * Make `box` such an editor. It has a textarea, `.editor-problem`, `.editor-findings`, an optional file input and, in its
 * `data-kind`, which JSON it takes. `changed()` is called when what it holds has been checked.
 */
export function configEditor(box, changed = () => {}) {
  const field = box.querySelector("textarea");
  const problemBox = box.querySelector(".editor-problem");
  const findingsBox = box.querySelector(".editor-findings");
  const [begins, kindMessage] = KINDS[box.dataset.kind];
  let state;
  let refused = null; // what the server says of this very text
  let findings = [];
  let checking = 0;

  const { view, setReadOnly, compareWith } = codeView(field, {
    changed() {
      clearTimeout(checking);
      checking = setTimeout(check, CHECK_MS);
    },
    sources: [],
    more: [
      EditorView.domEventHandlers({
        blur: () => void (checking && check()),
        // The box takes it.
        drop: (event) => isFile(event),
      }),
    ],
  });

  function check(most = SLICE_MS) {
    clearTimeout(checking);
    checking = 0;
    if (!forceParsing(view, view.state.doc.length, most)) {
      checking = setTimeout(check, SLICE_MS);
      return;
    }
    look();
    changed();
  }

  function look() {
    const text = view.state.doc.toString();
    field.value = text; // what a form sends
    state = text.trim() ? judge(text) : { isEmpty: true };
    refused = null;
    findings = [];
    show();
  }

  function judge(text) {
    if (new Blob([text]).size > MOST_BYTES) return { problem: { message: "It is larger than 1 MB." } };
    const problem = problemIn(text, syntaxTree(view.state));
    if (problem) return { problem };
    return text.trimStart().startsWith(begins) ? { text } : { problem: { message: kindMessage, from: 0, to: 1 } };
  }

  // Showing.

  function show() {
    const { problem = refused } = state;
    problemBox.replaceChildren();
    problemBox.hidden = !problem;
    if (problem) view.contentDOM.setAttribute("aria-invalid", "true");
    else view.contentDOM.removeAttribute("aria-invalid");
    if (problem) problemBox.append(problem.from === undefined ? "" : pointer(problem, true), problem.message);
    findingsBox.hidden = !findings.length;
    findingsBox.replaceChildren(...findings.map(item));
    const marks = findings.filter((one) => one.from !== undefined);
    if (problem?.from !== undefined) marks.push({ ...problem, severity: "error" });
    view.dispatch(setDiagnostics(view.state, marks));
  }

  function item(finding) {
    const line = document.createElement("li");
    if (finding.from === undefined) line.append(finding.message);
    else line.append(pointer(finding), ` ${finding.message}`);
    return line;
  }

  function pointer({ from, to }, hasColumn = false) {
    const line = view.state.doc.lineAt(from);
    const column = hasColumn ? `, column ${from - line.from + 1}` : "";
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link" });
    button.textContent = `Line ${line.number}${column}:`;
    button.title = "Go there";
    button.addEventListener("click", () => goTo(from, Math.min(to, view.state.doc.length)));
    return button;
  }

  function goTo(from, to) {
    view.focus();
    view.dispatch({
      selection: { anchor: from, head: to },
      effects: EditorView.scrollIntoView(from, { y: "center" }),
    });
  }

  // Said of what was brought, and not of what is in the editor.
  function showMessage(message) {
    problemBox.replaceChildren(message);
    problemBox.hidden = false;
  }

  // Taking.

  async function loadFile(file) {
    if (file.size > MOST_BYTES) return showMessage(`${file.name} is larger than 1 MB.`);
    const text = await file.text();
    if (text.includes("\u0000") || text.includes("\ufffd")) return showMessage(`${file.name} is not a text file.`);
    set(text.replace(/^\ufeff/, ""));
    box.dispatchEvent(new CustomEvent("took", { detail: file.name }));
  }

  function set(text) {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: 0 } });
    view.scrollDOM.scrollTop = 0;
    check(WHOLE_MS);
  }

  acceptFiles(box, loadFile);
  // It may have been typed before the script ran.
  forceParsing(view, view.state.doc.length, WHOLE_MS);
  look();

  return {
    set,
    setReadOnly,
    compareWith,
    focus: () => view.focus(),
    text: () => view.state.doc.toString(),
    /** `{ isEmpty }`, `{ text }`, which is right JSON, or `{ problem }` of what is in the editor now. */
    read() {
      if (checking) check(WHOLE_MS);
      return state;
    },
    /** Show what looks like a mistake: `{ place, text }` each, the place `prefix` and a JSON pointer into the text. */
    showFindings(found, prefix) {
      const places = found.length && state.text ? placesIn(state.text, syntaxTree(view.state)) : new Map();
      findings = found.map(({ place, text }) => marked(places.get(place.slice(prefix.length)), text));
      show();
    },
    /** Show what the server says of it; empty: nothing. */
    refuse(message) {
      refused = message ? { message } : null;
      show();
    },
  };

  function marked(place, message) {
    if (!place) return { message };
    const lineEnd = view.state.doc.lineAt(place.from).to;
    return { message, severity: "warning", from: place.from, to: Math.min(place.to, lineEnd) };
  }
}
