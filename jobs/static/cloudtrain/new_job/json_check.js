// Where JSON stops being JSON, and why, as a sentence. The browser's own parser says neither the line nor the same in each browser.

const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /[A-Za-z_]\w*/y;
const LITERALS = { true: true, false: false, null: null };
const DEPTH = 200;

/** A number as it is written: a browser's own would lose digits of 12345678901234567890, and the point of 1.0. */
export class Numeral {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

class Problem extends Error {
  constructor(at, message) {
    super(message);
    this.at = at;
  }
}

/**
 * Read `text`; numbers are Numerals. Returns `{ value }`, or `{ problem }`: `{ message, at, line, column }`, where `at` is the place in the text and
 * line and column count from 1.
 */
export function readJson(text) {
  try {
    return { value: new Reader(text).whole() };
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const before = text.slice(0, problem.at).split("\n");
    return {
      problem: { message: problem.message, at: problem.at, line: before.length, column: before.at(-1).length + 1 },
    };
  }
}

/**
 * Where each value of `text`, which is right JSON, stands: by its JSON pointer, the number of characters before its name
 * or, in a list, before itself.
 */
export function placesIn(text) {
  const reader = new Reader(text);
  reader.whole();
  return reader.places;
}

/** Write what `readJson` returned, each number as it was written, in lines indented by two. */
export function writeJson(value, pad = "") {
  if (value instanceof Numeral) return String(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const inner = `${pad}  `;
  const parts = isList
    ? value.map((one) => writeJson(one, inner))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${writeJson(one, inner)}`);
  const [begin, end] = isList ? "[]" : "{}";
  return parts.length ? `${begin}\n${inner}${parts.join(`,\n${inner}`)}\n${pad}${end}` : begin + end;
}

/** A character as people can see it, such as the mark with which editors on Windows begin a file. */
function shown(code) {
  const character = String.fromCodePoint(code);
  const isSeen = /[\p{L}\p{N}\p{P}\p{S}]/u.test(character);
  return isSeen
    ? character
    : `an invisible character, U+${code.toString(16).toUpperCase().padStart(4, "0")}: remove it.`;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.depth = 0;
    this.pointer = "";
    this.places = new Map();
  }

  /** Read what is in an object or a list under `name`, which begins at `start`. */
  below(name, start) {
    const { pointer } = this;
    this.pointer = `${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
    this.places.set(this.pointer, start);
    const value = this.value();
    this.pointer = pointer;
    return value;
  }

  whole() {
    const value = this.value();
    this.skip();
    if (this.at < this.text.length) throw this.problem("Here is something after the end of the JSON.");
    return value;
  }

  problem(message, at = this.at) {
    return new Problem(at, message);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  skip() {
    this.match(SPACE);
  }

  get next() {
    return this.text[this.at];
  }

  value() {
    this.skip();
    if (this.next === "{") return this.nested(() => this.object());
    if (this.next === "[") return this.nested(() => this.list());
    if (this.next === '"') return this.string();
    const start = this.at;
    const number = this.match(NUMBER);
    if (number) return this.numeral(number, start);
    const word = this.match(WORD);
    if (Object.hasOwn(LITERALS, word)) return LITERALS[word];
    throw this.problem(this.notAValue(word, start), start);
  }

  /** Servers and trainers read a point or an exponent as a number of 64 bits. */
  numeral(text, start) {
    const read = /[.eE]/.test(text) ? Number(text) : 1;
    if (!Number.isFinite(read))
      throw this.problem(`${text} is larger than any program holds: at most about 1.8e308.`, start);
    if (read === 0 && /[1-9]/.test(text.split(/e/i)[0]))
      throw this.problem(`${text} is so small that it would become 0.`, start);
    return new Numeral(text);
  }

  notAValue(word, start) {
    if (start >= this.text.length) return "The text ends here, where a value should be.";
    if (word === "True" || word === "False") return `JSON writes ${word.toLowerCase()}, in small letters.`;
    if (word === "None") return "JSON writes null instead of None.";
    if (word) return `${word} is no value: a text stands in double quotes.`;
    if (this.text[start] === "'") return "A text stands in double quotes, not in single ones.";
    if (this.text[start] === "/" || this.text[start] === "#") return "JSON has no comments.";
    return `A value should be here, not ${shown(this.text.codePointAt(start))}`;
  }

  nested(read) {
    if (++this.depth > DEPTH) throw this.problem(`This is nested more than ${DEPTH} deep.`);
    const value = read();
    this.depth--;
    return value;
  }

  object() {
    const found = {};
    const names = new Set();
    this.each("}", () => {
      const start = this.at;
      if (this.next !== '"') throw this.problem(this.notAName());
      const name = this.string();
      if (names.has(name)) throw this.problem(`${JSON.stringify(name)} is already set above.`, start);
      names.add(name);
      this.skip();
      if (this.next !== ":") throw this.problem("A colon should be here, after the name.");
      this.at++;
      // Not by assignment, to which __proto__ would mean something.
      Object.defineProperty(found, name, {
        value: this.below(name, start),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    });
    return found;
  }

  notAName() {
    if (this.at >= this.text.length) return "The text ends here: a } is missing.";
    return this.next === "}" ? "There is a comma too many before this." : "A name in double quotes should be here.";
  }

  list() {
    const found = [];
    this.each("]", () => {
      if (this.next === "]") throw this.problem("There is a comma too many before this.");
      found.push(this.below(found.length, this.at));
    });
    return found;
  }

  each(end, read) {
    this.at++;
    this.skip();
    if (this.next === end) return void this.at++;
    for (;;) {
      this.skip();
      read();
      this.skip();
      const mark = this.next;
      if (mark !== "," && mark !== end) {
        throw this.problem(
          mark === undefined ? `The text ends here: a ${end} is missing.` : `A comma or ${end} should be before this.`,
        );
      }
      this.at++;
      if (mark === end) return;
    }
  }

  string() {
    const start = this.at++;
    for (; this.at < this.text.length; this.at++) {
      const mark = this.text[this.at];
      if (mark === '"') return this.unescape(start, ++this.at);
      if (mark < " ")
        throw this.problem(
          mark === "\n"
            ? "The line ends within a text: a double quote is missing."
            : "A text has no control characters; write \\t for a tab.",
        );
      if (mark === "\\") this.at++;
    }
    throw this.problem("This text has no end: a double quote is missing.", start);
  }

  unescape(start, end) {
    try {
      return JSON.parse(this.text.slice(start, end));
    } catch {
      throw this.problem(
        "A backslash in this text stands before what it may not; write \\\\ for the backslash itself.",
        start,
      );
    }
  }
}
