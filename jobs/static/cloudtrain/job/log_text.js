// A log's text as lines to be shown: progress bars folded to their last drawing, colours apart from the words, control
// characters made visible. No element is made here; whatever a log holds stays text.

// As jobs/providers/progress.py knows them: colours and movements, titles and links, single ones.
const ESCAPES = /\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])/g;
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f]/;
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;
const WIDE = /[^\x00-\u10ff]/;
const TAB = "    ";

// What a browser can scroll through, and what one looks at; the download has all of it.
const MOST_LINES = 500_000;
const MOST_CHARACTERS = 40_000_000;

/** The lines of a log that grows. */
export class LogText {
  constructor() {
    this.lines = []; // as they are read, without colours
    this.raws = []; // as they were written, where that differs
    this.open = ""; // what has no end of line yet; the last of `lines` shows it
    this.size = 0;
    this.dropped = 0;
  }

  /** Add what was written since. Returns the first line that is new or other than before. */
  append(text) {
    const pieces = text.split("\n");
    if (this.open) {
      pieces[0] = this.open + pieces[0];
      this.lines.pop();
      this.raws.length = Math.min(this.raws.length, this.lines.length);
    }
    const changed = this.lines.length;
    const last = pieces.pop();
    for (const piece of pieces) this.#push(fold(piece));
    // The carriage return stays: what comes next is drawn over the line.
    const drawn = fold(last);
    this.open = drawn && last.endsWith("\r") ? `${drawn}\r` : drawn;
    if (this.open) this.#push(drawn);
    this.size += text.length;
    return changed;
  }

  #push(line) {
    if (UNPRINTABLE.test(line)) {
      if (line.includes("\x1b[")) this.raws[this.lines.length] = line;
      line = printable(line.replace(ESCAPES, ""));
    }
    this.lines.push(line);
  }

  /** Forget the oldest lines when there are more than anybody can scroll through. Returns how many. */
  trim() {
    let surplus = this.lines.length > MOST_LINES ? this.lines.length - MOST_LINES * 0.8 : 0;
    if (this.size > MOST_CHARACTERS) surplus = Math.max(surplus, Math.ceil(this.lines.length / 2));
    if (!surplus || this.lines.length < 2) return 0;
    this.lines = this.lines.slice(surplus);
    this.raws = this.raws.slice(surplus);
    this.size = this.lines.reduce((sum, line) => sum + line.length + 1, 0);
    this.dropped += surplus;
    return surplus;
  }

  /** The coloured stretches of a line: `[from, to, class names]`, in order. */
  colours(index) {
    const raw = this.raws[index];
    return raw ? coloursOf(raw) : [];
  }
}

/** What is left to see of a line that was drawn over: the last drawing that shows anything. */
function fold(piece) {
  if (!piece.includes("\r")) return piece;
  const drawings = piece.split("\r");
  return drawings.findLast((drawing) => drawing.trim()) ?? "";
}

function printable(text) {
  return text.replaceAll("\t", TAB).replace(CONTROL, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : "\ufffd";
  });
}

// A colour ends with its line: a row is drawn without those before it.
function coloursOf(raw) {
  const found = [];
  const style = { ink: "", isBold: false, isFaint: false };
  let from = 0;
  let read = 0;
  const add = (text) => {
    const to = from + printable(text).length;
    const names = classesOf(style);
    if (names && to > from) found.push([from, to, names]);
    from = to;
  };
  for (const match of raw.matchAll(ESCAPES)) {
    add(raw.slice(read, match.index));
    read = match.index + match[0].length;
    if (match[0].startsWith("\x1b[") && match[0].endsWith("m")) apply(style, match[0].slice(2, -1));
  }
  add(raw.slice(read));
  return found;
}

function classesOf({ ink, isBold, isFaint }) {
  return [ink && `ink-${ink}`, isBold && "ink-bold", isFaint && "ink-faint"].filter(Boolean).join(" ");
}

// The eight colours, in both strengths. Backgrounds and finer shades would not be readable on every ground.
function apply(style, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index];
    if (code === 0) Object.assign(style, { ink: "", isBold: false, isFaint: false });
    else if (code === 1) style.isBold = true;
    else if (code === 2) style.isFaint = true;
    else if (code === 22) Object.assign(style, { isBold: false, isFaint: false });
    else if (code >= 30 && code <= 37) style.ink = String(code - 30);
    else if (code >= 90 && code <= 97) style.ink = String(code - 90);
    else if (code === 39) style.ink = "";
    else if (code === 38 || code === 48) index += codes[index + 1] === 5 ? 2 : 4;
  }
}

const isWide = (code) =>
  (code >= 0x1100 && code <= 0x115f) ||
  (code >= 0x2e80 && code <= 0xa4cf) ||
  (code >= 0xac00 && code <= 0xd7a3) ||
  (code >= 0xf900 && code <= 0xfaff) ||
  (code >= 0xfe30 && code <= 0xfe6f) ||
  (code >= 0xff00 && code <= 0xff60) ||
  (code >= 0x1f300 && code <= 0x1faff) ||
  (code >= 0x20000 && code <= 0x3fffd);

/** How many rows of `columns` characters a line takes. */
export function countRows(line, columns) {
  if (line.length * 2 <= columns) return 1;
  const isWider = WIDE.test(line);
  let rows = 1;
  for (let at = endOfRow(line, 0, columns, isWider); at < line.length; at = endOfRow(line, at, columns, isWider))
    rows += 1;
  return rows;
}

/** Where each row of a line begins. */
export function cutsOf(line, columns) {
  const cuts = [0];
  const isWider = WIDE.test(line);
  for (let at = endOfRow(line, 0, columns, isWider); at < line.length; at = endOfRow(line, at, columns, isWider))
    cuts.push(at);
  return cuts;
}

// A row ends after its last space, unless that leaves more than half of it empty. The space may stand beyond its end.
function endOfRow(line, from, columns, isWider) {
  const full = isWider ? endOfWideRow(line, from, columns) : from + columns;
  if (full >= line.length) return line.length;
  const row = line.slice(from, full + 1);
  const space = row.lastIndexOf(" ");
  return space * 2 >= row.length ? from + space + 1 : full;
}

function endOfWideRow(line, from, columns) {
  let used = 0;
  let at = from;
  while (at < line.length) {
    const code = line.codePointAt(at);
    used += isWide(code) ? 2 : 1;
    if (used > columns) break;
    at += code > 0xffff ? 2 : 1;
  }
  return at;
}
