// The log on the page: however long it is, only the rows in view are elements.

import { LogText, countRows, cutsOf } from "./log_text.js";

const MORE_ROWS = 20; // above and below what is seen, for a quick scroll
const MOST_MATCHES = 100_000;
const FEWEST_COLUMNS = 20;

/** Shows a log in `box`; `changed()` is called when following stops or begins. */
export class LogView {
  constructor(box, changed) {
    this.box = box;
    this.changed = changed;
    this.space = box.querySelector(".log-space");
    this.rows = box.querySelector(".log-rows");
    this.text = new LogText();
    this.ends = []; // by line: the number of the row after its last
    this.columns = 0;
    this.height = 1;
    this.isFollowing = true;
    this.pattern = null;
    this.matches = []; // [line, from, to]
    this.current = -1;
    this.drawn = "";
    this.version = 0;
    this.isDue = false;
    box.addEventListener("scroll", () => this.#scrolled());
    new ResizeObserver(() => this.#resized()).observe(box);
  }

  get isEmpty() {
    return this.text.lines.length === 0;
  }

  append(text) {
    let changed = this.text.append(text);
    if (!this.columns) this.#measure();
    const rowsBefore = this.ends.length;
    if (this.text.trim()) {
      const gone = this.text.dropped;
      changed = 0;
      this.box.dataset.dropped = gone;
    }
    this.#count(changed);
    this.#search(changed);
    this.version += 1;
    if (this.isFollowing || !rowsBefore) this.#toEnd();
    else this.#draw();
  }

  follow() {
    this.#setFollowing(true);
    this.#toEnd();
  }

  /** Mark what matches `text` and go to the first of it from what is in view. */
  search(text) {
    this.pattern = text ? new RegExp(text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "giu") : null;
    this.#search(0);
    this.current = -1;
    this.version += 1;
    if (!this.matches.length) return this.#draw();
    const top = this.#lineAt(this.#topRow());
    const found = this.matches.findIndex(([line]) => line >= top);
    this.#goTo(Math.max(0, found));
  }

  /** To the next match, or with -1 to the one before; after the last comes the first. */
  step(by) {
    const count = this.matches.length;
    if (count) this.#goTo((this.current + by + count) % count);
  }

  // Rows

  #measure() {
    const probe = document.createElement("span");
    probe.textContent = "0".repeat(100);
    probe.className = "log-probe";
    this.rows.append(probe);
    const { width, height } = probe.getBoundingClientRect();
    probe.remove();
    const margins = parseFloat(getComputedStyle(this.rows).getPropertyValue("--log-margins")) || 0;
    const columns = Math.max(FEWEST_COLUMNS, Math.floor((this.box.clientWidth - margins) / (width / 100 || 8)));
    this.height = height || 18;
    const isOther = columns !== this.columns;
    this.columns = columns;
    return isOther;
  }

  #count(from) {
    const { lines } = this.text;
    const { columns, ends } = this;
    let row = from ? ends[from - 1] : 0;
    ends.length = from;
    for (let line = from; line < lines.length; line += 1) {
      row += countRows(lines[line], columns);
      ends.push(row);
    }
    this.space.style.height = `${row * this.height}px`;
  }

  #total() {
    return this.ends.at(-1) ?? 0;
  }

  #topRow() {
    return Math.floor(this.box.scrollTop / this.height);
  }

  #firstRow(line) {
    return line ? this.ends[line - 1] : 0;
  }

  // The line that `row` belongs to.
  #lineAt(row) {
    let low = 0;
    let high = this.ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle] > row) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // Scrolling

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    this.#setFollowing(scrollHeight - clientHeight - scrollTop < this.height * 1.5);
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.#draw();
    });
  }

  #setFollowing(isFollowing) {
    if (isFollowing === this.isFollowing) return;
    this.isFollowing = isFollowing;
    this.changed();
  }

  #toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.#draw();
  }

  #resized() {
    if (!this.box.clientWidth) return;
    const line = this.#lineAt(this.#topRow());
    if (this.#measure()) {
      this.#count(0);
      this.version += 1;
    }
    if (this.isFollowing) return this.#toEnd();
    this.box.scrollTop = this.#firstRow(line) * this.height;
    this.#draw();
  }

  // Searching

  #search(from) {
    const before = this.matches.findIndex(([line]) => line >= from);
    if (before >= 0) this.matches.length = before;
    if (!this.pattern) this.matches.length = 0;
    else this.#searchLines(from);
    if (this.current >= this.matches.length) this.current = -1;
  }

  #searchLines(from) {
    const { lines } = this.text;
    for (let line = from; line < lines.length; line += 1) {
      for (const match of lines[line].matchAll(this.pattern)) {
        if (this.matches.length >= MOST_MATCHES) return;
        this.matches.push([line, match.index, match.index + match[0].length]);
      }
    }
  }

  /** "3 of 12", for people. */
  get found() {
    if (!this.pattern) return "";
    const count = this.matches.length;
    if (!count) return "No match";
    const all = count >= MOST_MATCHES ? `${count.toLocaleString()}+` : count.toLocaleString();
    return `${(this.current + 1).toLocaleString()} of ${all}`;
  }

  #goTo(index) {
    this.current = index;
    this.version += 1;
    const [line, from] = this.matches[index];
    const cuts = cutsOf(this.text.lines[line], this.columns);
    const row = this.#firstRow(line) + cuts.findLastIndex((cut) => cut <= from);
    const inView = Math.floor(this.box.clientHeight / this.height);
    const top = this.#topRow();
    if (row < top || row >= top + inView) this.box.scrollTop = Math.max(0, row - Math.floor(inView / 2)) * this.height;
    this.#draw();
  }

  // Drawing

  #draw() {
    const first = Math.max(0, this.#topRow() - MORE_ROWS);
    const last = Math.min(this.#total(), this.#topRow() + Math.ceil(this.box.clientHeight / this.height) + MORE_ROWS);
    const drawn = `${first} ${last} ${this.version}`;
    if (drawn === this.drawn) return; // what is selected stays selected
    this.drawn = drawn;
    const fragment = document.createDocumentFragment();
    for (let line = this.#lineAt(first), row = first; row < last; line += 1)
      row = this.#drawLine(fragment, line, row, last);
    this.rows.style.transform = `translateY(${first * this.height}px)`;
    this.rows.replaceChildren(fragment);
  }

  #drawLine(fragment, line, row, last) {
    const text = this.text.lines[line];
    const cuts = cutsOf(text, this.columns);
    const begin = this.#firstRow(line);
    const marks = this.#marksOf(line);
    for (; row < this.ends[line] && row < last; row += 1) {
      const place = row - begin;
      const element = document.createElement("div");
      element.className = "log-row";
      if (!place) element.dataset.line = line + 1 + this.text.dropped;
      write(element, text, cuts[place], cuts[place + 1] ?? text.length, marks);
      fragment.append(element);
    }
    return row;
  }

  // Colours first, matches over them.
  #marksOf(line) {
    const marks = this.text.colours(line).map(([from, to, names]) => ({ from, to, names, isMatch: false }));
    if (!this.matches.length) return marks;
    for (let place = firstOf(this.matches, line); this.matches[place]?.[0] === line; place += 1) {
      const [, from, to] = this.matches[place];
      marks.push({ from, to, names: place === this.current ? "is-current" : "", isMatch: true });
    }
    return marks;
  }
}

// The first match in `line` or after it.
function firstOf(matches, line) {
  let low = 0;
  let high = matches.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (matches[middle][0] < line) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Write `text` from `begin` to `end`, cut wherever a mark begins or ends.
function write(element, text, begin, end, marks) {
  const within = marks.filter(({ from, to }) => from < end && to > begin);
  if (!within.length) {
    element.textContent = text.slice(begin, end);
    return;
  }
  const edges = new Set([begin, end]);
  for (const { from, to } of within) edges.add(Math.max(from, begin)).add(Math.min(to, end));
  const places = [...edges].sort((one, other) => one - other);
  for (let place = 0; place + 1 < places.length; place += 1) {
    const [from, to] = [places[place], places[place + 1]];
    const here = within.filter((mark) => mark.from <= from && mark.to >= to);
    const part = document.createElement(here.some(({ isMatch }) => isMatch) ? "mark" : "span");
    part.className = here
      .map(({ names }) => names)
      .join(" ")
      .trim();
    part.textContent = text.slice(from, to);
    element.append(part);
  }
}
