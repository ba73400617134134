// Completion and hints from the options that the trainer knows.

import { hoverTooltip, syntaxTree } from "../vendor/codemirror-6/codemirror.min.js";

const addresses = new Map(); // of the lists that were asked for

/** The list of an address, asked for once; null when there is none to be had: then nothing is completed. */
export function optionsAt(address) {
  if (!addresses.has(address)) {
    const answer = fetch(address, { credentials: "same-origin", headers: { Accept: "application/json" } });
    addresses.set(
      address,
      answer.then((response) => (response.ok ? response.json() : null)).catch(() => null),
    );
  }
  return addresses.get(address);
}

/** The name of an option without the dashes that one may write before it. */
export const bareName = (name) => name.trim().replace(/^-+/, "").replaceAll("-", "_");

/** What is known of an option, in a few words. */
function describe({ type, choices, default: usual, minimum, soft_maximum: maximum }) {
  const kinds = {
    string: "a text",
    number: "a number",
    boolean: "true or false",
    choice: "a choice",
    text_json: "JSON",
  };
  const parts = [kinds[type] ?? ""];
  if (choices?.length) parts.push(`one of ${choices.filter((one) => one !== null && one !== "").join(", ")}`);
  if (minimum !== undefined) parts.push(`at least ${minimum}`);
  if (maximum !== undefined) parts.push(`usually at most ${maximum}`);
  if (usual !== undefined && usual !== null && usual !== "") parts.push(`${JSON.stringify(usual)} if it is left out`);
  return parts.filter(Boolean).join("; ");
}

/**
 * The options that may be named within `node`: those of the config at its top, of a dataset in a dataloader's list.
 * `kind` is "object" or "list".
 */
function optionsWithin(node, kind, list) {
  let depth = 0;
  for (let at = node; at; at = at.parent) if (at.name === "Object" || at.name === "Array") depth++;
  if (kind === "object") return depth === 1 ? list.options : null;
  return depth === 2 ? list.dataset_options : null;
}

const textOf = (state, node) => state.sliceDoc(node.from, node.to);
const unquoted = (text) => text.replace(/^"|"$/g, "");

function namesIn(state, object) {
  return object.getChildren("Property").map(({ firstChild }) => unquoted(textOf(state, firstChild)));
}

/** A source of completions for an editor of that kind; `list()` resolves to the options or null. */
export function completions(kind, list) {
  return async (context) => {
    const { state, pos, explicit } = context;
    const node = syntaxTree(state).resolveInner(pos, -1);
    const word = context.matchBefore(/"?[\w-]*$/);
    if (!explicit && !word?.text) return null;
    const known = await list();
    if (!known || context.aborted) return null;
    const property = propertyOf(node);
    if (property && isAfterColon(property, pos)) return values(state, property, pos, kind, known);
    return names(state, node, word, kind, known);
  };
}

function propertyOf(node) {
  for (let at = node; at && at.name !== "Object" && at.name !== "Array"; at = at.parent)
    if (at.name === "Property") return at;
  return null;
}

const isAfterColon = (property, pos) => property.firstChild.nextSibling && pos >= property.firstChild.nextSibling.to;

function names(state, node, word, kind, known) {
  const object = objectAround(node);
  const options = object && optionsWithin(object, kind, known);
  if (!options) return null;
  const own = namesIn(state, object);
  const typed = word.text.replace(/^"/, "");
  const used = new Set(own.filter((one) => one !== typed).map(bareName));
  const dashes = typed.startsWith("-") || (!typed && own.some((one) => one.startsWith("--"))) ? "--" : "";
  const to = state.sliceDoc(word.to, word.to + 1) === '"' ? word.to + 1 : word.to;
  const isNamed = /^\s*:/.test(state.sliceDoc(to, to + 20));
  return {
    from: word.from,
    to,
    validFor: /^"?[\w-]*$/,
    options: Object.entries(options)
      .filter(([name]) => !used.has(name))
      .map(([name, option]) => ({
        label: `"${dashes}${name}"`,
        displayLabel: dashes + name,
        detail: option.type && option.type !== "text_json" ? option.type : "",
        info: describe(option) || undefined,
        apply: isNamed ? undefined : `"${dashes}${name}": `,
      })),
  };
}

function objectAround(node) {
  for (let at = node; at; at = at.parent)
    if (at.name === "Object" || at.name === "Array") return at.name === "Object" ? at : null;
  return null;
}

function values(state, property, pos, kind, known) {
  const option = optionsWithin(property.parent, kind, known)?.[bareName(unquoted(textOf(state, property.firstChild)))];
  if (!option) return null;
  const choices = option.type === "boolean" ? [true, false] : option.choices;
  if (!choices?.length) return null;
  const value = property.lastChild;
  const isBegun = value !== property.firstChild && value.name !== ":" && value.from <= pos && !value.type.isError;
  const before = state.sliceDoc(property.from, pos).match(/[\w."-]*$/)[0];
  return {
    from: isBegun ? value.from : pos - before.length,
    to: isBegun ? value.to : pos,
    options: choices.filter((one) => one !== null && one !== "").map((one) => ({ label: JSON.stringify(one) })),
  };
}

/** Hints for the names of options. */
export function hints(kind, list) {
  return hoverTooltip(async (view, pos) => {
    const node = syntaxTree(view.state).resolveInner(pos, 0);
    if (node.name !== "PropertyName") return null;
    const known = await list();
    const name = bareName(unquoted(textOf(view.state, node)));
    const option = known && optionsWithin(node, kind, known)?.[name];
    if (!option) return null;
    return { pos: node.from, end: node.to, above: true, create: () => ({ dom: hint(name, describe(option)) }) };
  });
}

function hint(name, text) {
  const dom = document.createElement("div");
  dom.className = "option-hint";
  dom.append(Object.assign(document.createElement("strong"), { textContent: name }), text ? `: ${text}` : "");
  return dom;
}
