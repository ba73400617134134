// The editor of a config: checked as one types, mistakes marked at their place and listed below it, files taken.

import { EditorView, forceParsing, setDiagnostics, syntaxTree } from "../vendor/codemirror-6/codemirror.min.js";
import { toast } from "../shell/page.js";
import { codeView } from "./code_view.js";
import { asJson, isForeign } from "./conversion.js";
import { acceptFiles, isFile } from "./files.js";
import { placesIn, problemIn } from "./json_problems.js";
import { completions, hints, optionsAt } from "./known_options.js";

const CHECK_MS = 250;
// Longer parsing would be felt in the typing; the rest is parsed when the browser has drawn.
const SLICE_MS = 20;
const WHOLE_MS = 5_000;
// As the server has it.
const MOST_BYTES = 1_000_000;
// What is pressed must not move before it is released, or the click is lost: what a check shows waits for that.
let isPressed = false;
for (const type of /** @type {const} */ (["pointerdown", "pointermove", "pointerup", "pointercancel"]))
  addEventListener(type, (event) => void (isPressed = (event.buttons & 1) === 1), { capture: true, passive: true });
const KINDS = {
  object: ["{", "A config is a JSON object: it begins with { and ends with }."],
  list: ["[", "A dataloader config is a JSON list: it begins with [ and ends with ]."],
};

/**
 * Make `box` such an editor. It has a textarea, `.editor-problem`, `.editor-findings`, an optional file input and, in its
 * `data-kind`, which JSON it takes. `changed()` is called when what it holds has been checked; `provider()` names the one
 * whose options are offered.
 */
export function configEditor(box, { changed = () => {}, provider = () => "local" } = {}) {
  const field = box.querySelector("textarea");
  const problemBox = box.querySelector(".editor-problem");
  const findingsBox = box.querySelector(".editor-findings");
  const { kind, options, conversion } = box.dataset;
  const [begins, kindMessage] = KINDS[kind];
  const list = () => optionsAt(`${options}?provider=${encodeURIComponent(provider() || "local")}`);
  let state;
  let refused = null; // what the server says of this very text
  let findings = [];
  let checking = 0;

  const { view, setReadOnly, compareWith } = codeView(field, {
    changed: () => checkIn(CHECK_MS),
    sources: [completions(kind, list)],
    more: [
      hints(kind, list),
      EditorView.domEventHandlers({
        blur: () => void (checking && checkIn(0)),
        // The box takes it.
        drop: (event) => isFile(event),
        paste: (event) => takePaste(event.clipboardData?.getData("text/plain") ?? ""),
      }),
    ],
  });

  function checkIn(ms) {
    clearTimeout(checking);
    checking = setTimeout(() => (isPressed ? checkIn(SLICE_MS) : check()), ms);
  }

  function check(most = SLICE_MS) {
    clearTimeout(checking);
    checking = 0;
    if (!forceParsing(view, view.state.doc.length, most)) {
      checkIn(SLICE_MS);
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
    else line.append(pointer(finding), ` ${finding.message}`, ...(finding.actions ?? []).flatMap(acted));
    return line;
  }

  function acted({ name, apply }) {
    const button = Object.assign(document.createElement("button"), {
      type: "button",
      className: "link",
      textContent: name,
    });
    button.addEventListener("click", () => {
      apply();
      view.focus();
    });
    return [" ", button];
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
    if (!isForeign(text, file.name)) set(text.replace(/^\ufeff/, ""));
    else if (!(await takeForeign(text, file.name))) return;
    box.dispatchEvent(new CustomEvent("took", { detail: file.name }));
  }

  /** Whether `text`, pasted in place of all that there is, is another notation, which is then taken as JSON. */
  function takePaste(text) {
    const { from, to } = view.state.selection.main;
    const isAll = !view.state.sliceDoc(0, from).trim() && !view.state.sliceDoc(to).trim();
    if (!isAll || view.state.readOnly || !text.trim() || !isForeign(text)) return false;
    takeForeign(text);
    return true;
  }

  /** Whether `text` could be taken. */
  async function takeForeign(text, file = "") {
    try {
      const { notation, text: converted } = await asJson(text, conversion, file);
      set(converted);
      toast(`Shown as JSON; it was ${notation.toUpperCase()}. Comments are not kept.`);
      return true;
    } catch (refusal) {
      if (refusal.status !== 401)
        showMessage(`${file || "What you pasted"} can’t be read. ${refusal.errors.text?.join(" ") ?? refusal.message}`);
      return false;
    }
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
      findings = found.map((one) => marked(places.get(one.place.slice(prefix.length)), one));
      show();
    },
    /** Show what the server says of it; empty: nothing. */
    refuse(message) {
      refused = message ? { message } : null;
      show();
    },
  };

  function marked(place, { text: message, suggestion }) {
    if (!place) return { message };
    const lineEnd = view.state.doc.lineAt(place.from).to;
    const mark = { message, severity: "warning", from: place.from, to: Math.min(place.to, lineEnd) };
    const edit = suggestion && corrected(place, suggestion);
    if (edit) mark.actions = [{ name: `Use ${suggestion}`, apply: () => view.dispatch({ changes: edit }) }];
    return mark;
  }

  /** The edit that puts `suggestion` in the place of a name, or of the value of one that is right; null: of nothing. */
  function corrected({ from, to, value }, suggestion) {
    if (!value || value.from === from) return null;
    const name = view.state.sliceDoc(from, to);
    if (/^"(?:dataset_)?type"$/.test(name)) return { ...value, insert: JSON.stringify(suggestion) };
    const [dashes] = name.match(/-*(?=[^-"])/) ?? [""];
    return { from, to, insert: JSON.stringify(dashes + suggestion) };
  }
}
