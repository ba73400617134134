// Keys of every page: / searches, ? shows the keys, Ctrl-K goes anywhere; in the list j and k move, x chooses, Enter opens.

import { fetchText } from "./page.js";

const PAUSE_MS = 120;
const LIST = "cloudtrain-list";

const find = (id) => document.getElementById(id);
const palette = find("palette");
const text = find("palette-text");
const places = find("palette-places");

// The palette: a field, and the places that match it.

let asked = 0;
let pause = 0;
let shownFor = null;
let acts = Promise.resolve();

const options = () => [...places.querySelectorAll("[role=option]")];
const chosen = () => places.querySelector("[aria-selected=true]");

function select(option) {
  chosen()?.setAttribute("aria-selected", "false");
  option?.setAttribute("aria-selected", "true");
  option?.scrollIntoView({ block: "nearest" });
  text.setAttribute("aria-activedescendant", option?.id ?? "");
}

async function look() {
  const number = ++asked;
  const { value } = text;
  const query = new URLSearchParams({ q: value });
  const found = await fetchText(`${palette.dataset.places}?${query}`).catch(() => null);
  if (found === null || number !== asked) return;
  places.innerHTML = found;
  shownFor = value;
  select(options()[0]);
}

function openPalette() {
  if (document.querySelector("dialog[open]")) return;
  text.value = "";
  places.textContent = "";
  shownFor = null;
  palette.showModal();
  look();
}

text?.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(look, PAUSE_MS);
});
text?.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step && event.key !== "Enter") return;
  event.preventDefault();
  // A key acts on the places that match the text. They may still have to be fetched; if that fails, it does nothing.
  acts = acts.then(async () => {
    clearTimeout(pause);
    if (shownFor !== text.value) await look();
    if (shownFor !== text.value) return;
    const all = options();
    if (!step) chosen()?.click();
    else if (all.length) select(all.at((all.indexOf(chosen()) + step) % all.length));
  });
});
palette?.addEventListener("click", (event) => event.target === palette && palette.close());

// The list: the keyboard is on the link of a row.

const links = () => [...document.querySelectorAll("#job-rows .job-link")];

function move(step) {
  const all = links();
  const here = document.activeElement.closest("#job-rows .job");
  const at = here ? all.indexOf(here.querySelector(".job-link")) : -1;
  all[Math.max(0, Math.min(all.length - 1, at + step))]?.focus();
}

function search() {
  const field = find("search");
  if (!field) return openPalette();
  field.focus();
  field.select();
}

const KEYS = {
  "/": search,
  "?": () => find("keys").showModal(),
  j: () => move(1),
  k: () => move(-1),
  x: () => document.activeElement.closest("#job-rows .job")?.querySelector(".job-tick").click(),
};
// Of the arrows, the page has a use itself: they move once the keyboard is in the list.
const ARROWS = { ArrowDown: 1, ArrowUp: -1 };

function isTyping(target) {
  return (
    target.isContentEditable ||
    target.matches?.("textarea, select, input:not([type=checkbox], [type=radio], [type=button])")
  );
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (!palette) return; // a page without them
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && key.toLowerCase() === "k") {
    event.preventDefault();
    return openPalette();
  }
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(target)) return;
  if (document.querySelector("dialog[open]")) return;
  const step = target.matches(".job-link, .job-tick") && ARROWS[key];
  const act = step ? () => move(step) : KEYS[key];
  if (!act) return;
  event.preventDefault();
  act();
});

// The way back to the list leads to what was last shown there.

export function rememberList() {
  sessionStorage.setItem(LIST, location.search);
}

const back = sessionStorage.getItem(LIST);
if (back) for (const link of document.querySelectorAll('.trail a[href="/"]')) link.search = back;
