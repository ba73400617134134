// Finds the mistakes of a JSON text and the place of each of its values, in the editor's syntax tree.

/**
 * Return `{ message, from, to }` of the first thing that is wrong with `text`, whose whole syntax tree is `tree`; null when
 * nothing is. The browser's parser decides, and the tree tells where and why: each browser words that differently.
 */
export function problemIn(text, tree) {
  try {
    JSON.parse(text);
  } catch {
    return syntaxProblem(text, tree);
  }
  return problemOfValues(text, tree);
}

function syntaxProblem(text, tree) {
  let error = null;
  tree.iterate({
    enter(node) {
      if (!error && node.type.isError) error = node.node;
      return !error;
    },
  });
  if (!error) return { message: "This is not valid JSON.", from: 0, to: 0 };
  const { from } = error;
  return { message: sentence(text, error), from, to: Math.min(Math.max(error.to, from + 1), text.length) };
}

/** @type {[RegExp, (match: string[]) => string][]} */
const MISTAKES = [
  [/^(?:\/[/*]|#)/, () => "JSON has no comments. Remove this."],
  [/^'/, () => "Use double quotes instead of single quotes."],
  [/^(True|False)\b/, ([word]) => `Write ${word.toLowerCase()} in lower case.`],
  [/^None\b/, () => "Write null instead of None."],
];

function sentence(text, error) {
  const rest = text.slice(error.from);
  const mistake = MISTAKES.find(([pattern]) => pattern.test(rest));
  if (mistake) return mistake[1](rest.match(mistake[0]));
  if (rest.startsWith('"')) return unfinished(rest);
  const number = numberAround(text, error.from);
  if (number) return `${number} is not a number in JSON.`;
  return expected(error.parent.name, error.prevSibling?.name ?? "", rest.replace(/^[ \t\r\n]+/, ""));
}

function unfinished(rest) {
  const line = rest.slice(1).split("\n", 1)[0];
  if (!/^(?:[^"\\]|\\.)*"/.test(line)) return "A closing double quote is missing.";
  return "Invalid escape in this text. Write \\\\ for a backslash.";
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

// As in 01, 1. and .5, of which the parser takes the first digits for a number.
function numberAround(text, at) {
  const after = text.slice(at).match(/^[\w.+-]*/)[0];
  const token = text.slice(Math.max(0, at - 40), at).match(/[\w.+-]*$/)[0] + after;
  return after && /^[+-]?\.?\d/.test(token) && !NUMBER.test(token) ? token : "";
}

function expected(parent, previous, rest) {
  if (parent === "JsonText" && previous) return "Expected nothing after the end of the JSON.";
  const end = { Object: "}", Array: "]" }[parent];
  const isAfterValue = end && !["", ",", "{", "["].includes(previous);
  if (isAfterValue)
    return rest ? `Expected a comma or ${end} before this.` : `The text ends here: a ${end} is missing.`;
  if (previous === "," && rest.startsWith(end)) return "Remove the comma before this.";
  if (parent === "Object") return rest ? "Expected a name in double quotes." : "The text ends here: a } is missing.";
  if (parent === "Property" && previous === "PropertyName") return "Expected a colon after the name.";
  if (!rest) return "Expected a value before the end.";
  const [word] = rest.match(/^[A-Za-z_]\w*/) ?? [];
  return word ? `${word} is not a value. Put texts in double quotes.` : `Expected a value, not ${shown(rest)}`;
}

// A character as people can see it, such as the mark with which editors on Windows begin a file.
function shown(rest) {
  const code = rest.codePointAt(0);
  const character = String.fromCodePoint(code);
  if (/[\p{L}\p{N}\p{P}\p{S}]/u.test(character)) return `${character}.`;
  return `an invisible character, U+${code.toString(16).toUpperCase().padStart(4, "0")}: remove it.`;
}

/** What JSON allows and no trainer would read as it is written: a name that is set twice, a number that nothing holds. */
function problemOfValues(text, tree) {
  let problem = null;
  const objects = [];
  tree.iterate({
    enter(node) {
      if (problem) return false;
      if (node.name === "Object") objects.push(new Set());
      const message = objection(node.name, text, node, objects.at(-1));
      if (message) problem = { message, from: node.from, to: node.to };
      return true;
    },
    leave(node) {
      if (node.name === "Object") objects.pop();
    },
  });
  return problem;
}

function objection(kind, text, { from, to }, names) {
  if (kind !== "PropertyName" && kind !== "Number") return "";
  const written = text.slice(from, to);
  if (kind === "Number") return objectionToNumber(written);
  const name = written.includes("\\") ? JSON.stringify(JSON.parse(written)) : written;
  if (names.has(name)) return `${name} is already set above.`;
  names.add(name);
  return "";
}

// Servers and trainers read a point or an exponent as a number of 64 bits.
function objectionToNumber(written) {
  if (!/[.eE]/.test(written)) return "";
  const number = Number(written);
  if (!Number.isFinite(number)) return `${written} is too large: at most about 1.8e308.`;
  const isTooSmall = number === 0 && /[1-9]/.test(written.split(/e/i)[0]);
  return isTooSmall ? `${written} is so small that it would become 0.` : "";
}

const VALUES = new Set(["Object", "Array", "String", "Number", "True", "False", "Null"]);

/**
 * Where each value of `text` stands, by its JSON pointer: `{ from, to }` of its name or, in a list, of itself, and
 * `value`, the same of the value.
 */
export function placesIn(text, tree) {
  const places = new Map();
  const open = [];
  let pointer = "";
  tree.iterate({
    enter({ name, from, to }) {
      const within = open.at(-1);
      if (name === "PropertyName") {
        pointer = `${within.pointer}/${escaped(JSON.parse(text.slice(from, to)))}`;
        places.set(pointer, { from, to });
      }
      if (!VALUES.has(name)) return;
      if (within?.name === "Array") pointer = `${within.pointer}/${within.count++}`;
      places.set(pointer, { from, to, ...places.get(pointer), value: { from, to } });
      if (name === "Object" || name === "Array") open.push({ name, pointer, count: 0 });
    },
    leave({ name }) {
      if (name === "Object" || name === "Array") open.pop();
    },
  });
  return places;
}

const escaped = (name) => name.replaceAll("~", "~0").replaceAll("/", "~1");
