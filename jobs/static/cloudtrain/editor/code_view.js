// CodeMirror as this site has it: made from a textarea, coloured by editor.css.

import {
  acceptCompletion,
  autocompletion,
  bracketMatching,
  closeBrackets,
  closeBracketsKeymap,
  Compartment,
  completionKeymap,
  Decoration,
  defaultKeymap,
  drawSelection,
  EditorState,
  EditorView,
  foldGutter,
  foldKeymap,
  highlightActiveLine,
  highlightSelectionMatches,
  highlightSpecialChars,
  history,
  historyKeymap,
  classHighlighter,
  indentOnInput,
  indentUnit,
  indentWithTab,
  json,
  keymap,
  lineNumbers,
  lintGutter,
  lintKeymap,
  placeholder,
  search,
  searchKeymap,
  syntaxHighlighting,
  ViewPlugin,
} from "../vendor/codemirror-6/codemirror.min.js";

// The policy allows the library's own rules by this, and no others.
const nonce = () => document.querySelector("link[nonce]")?.nonce ?? "";

// Tab indents. After Escape it leaves the editor, which the library does and our help says.
const KEYS = [
  { key: "Tab", run: acceptCompletion },
  ...closeBracketsKeymap,
  ...completionKeymap,
  ...searchKeymap,
  ...historyKeymap,
  ...foldKeymap,
  ...lintKeymap,
  ...defaultKeymap,
  indentWithTab,
];

function marker(isOpen) {
  const mark = document.createElement("span");
  mark.textContent = isOpen ? "▾" : "▸";
  mark.title = isOpen ? "Fold" : "Unfold";
  return mark;
}

const LOOK = [
  lineNumbers(),
  lintGutter(),
  foldGutter({ markerDOM: marker }),
  highlightSpecialChars(),
  drawSelection(),
  highlightActiveLine(),
  bracketMatching(),
  highlightSelectionMatches(),
  syntaxHighlighting(classHighlighter),
];
const EDITING = [history(), indentOnInput(), indentUnit.of("  "), closeBrackets(), search({ top: true }), json()];

const isReadOnly = (state) => EditorState.readOnly.of(state);

/**
 * Put an editor in the place of `field`, a textarea, with what it holds. `changed()` is called when the text has changed,
 * `more` are further extensions, `sources` the sources of its completions.
 */
export function codeView(field, { changed, more, sources }) {
  const [reading, comparing] = [new Compartment(), new Compartment()];
  const label = document.querySelector(`label[for="${field.id}"]`);
  label.id ||= `${field.id}-label`;
  label.removeAttribute("for"); // of the two it names the editor
  const described = field.getAttribute("aria-describedby");
  const view = new EditorView({
    doc: field.value,
    extensions: [
      reading.of(isReadOnly(field.readOnly)),
      comparing.of([]),
      LOOK,
      EDITING,
      autocompletion({ override: sources, icons: false }),
      more,
      keymap.of(KEYS),
      placeholder(field.placeholder),
      EditorView.cspNonce.of(nonce()),
      EditorView.contentAttributes.of({
        "aria-labelledby": label.id,
        ...(described ? { "aria-describedby": described } : {}),
        autocapitalize: "none",
        tabindex: "0", // it has the keyboard as it is; those who check pages look for this
      }),
      EditorView.updateListener.of((update) => update.docChanged && changed()),
    ],
  });
  const { selectionStart, selectionEnd } = field;
  const hadKeyboard = document.activeElement === field;
  field.after(view.dom);
  field.hidden = true;
  label.addEventListener("click", () => view.focus());
  if (hadKeyboard) {
    view.dispatch({ selection: { anchor: selectionStart, head: selectionEnd } });
    view.focus();
  }
  return {
    view,
    setReadOnly: (state) => view.dispatch({ effects: reading.reconfigure(isReadOnly(state)) }),
    /** Mark the lines that `text` doesn't have. */
    compareWith: (text) => view.dispatch({ effects: comparing.reconfigure(changedLines(text)) }),
  };
}

const bare = (text) => text.trim().replace(/,$/, "");
const changedLine = Decoration.line({ class: "is-changed" });

function changedLines(text) {
  const before = new Set(text.split("\n").map(bare));
  const isNew = (line) => Boolean(line.trim()) && !before.has(bare(line));
  return ViewPlugin.fromClass(
    class {
      constructor(view) {
        this.decorations = marks(view, isNew);
      }

      update({ view, docChanged, viewportChanged }) {
        if (docChanged || viewportChanged) this.decorations = marks(view, isNew);
      }
    },
    { decorations: (plugin) => plugin.decorations },
  );
}

function marks(view, isNew) {
  const found = [];
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to;) {
      const line = view.state.doc.lineAt(at);
      if (isNew(line.text)) found.push(changedLine.range(line.from));
      at = line.to + 1;
    }
  }
  return Decoration.set(found, true);
}
