// Which jobs of the list are ticked, over all its pages, and one act for all of them.

import { refreshList } from "./dashboard.js";
import { changeHeaders, fetchText, showProblem } from "../shell/page.js";

const [FEWEST, MOST] = [2, 5];
const STORE = `chosen-${document.body.dataset.reader}`;

const view = document.getElementById("jobs-view");
const bar = document.getElementById("selection");
const count = document.getElementById("selection-count");
const dialog = document.getElementById("chosen");
const ticks = () => [...view.querySelectorAll(".job-tick")];

const chosen = new Set(JSON.parse(sessionStorage.getItem(STORE) ?? "[]"));
let last = null;

function show() {
  const boxes = ticks();
  for (const box of boxes) box.checked = chosen.has(box.value);
  const all = view.querySelector(".job-tick-all");
  const shown = boxes.filter((box) => box.checked).length;
  if (all)
    Object.assign(all, {
      checked: shown > 0 && shown === boxes.length,
      indeterminate: shown > 0 && shown < boxes.length,
    });
  bar.hidden = !chosen.size;
  const elsewhere = chosen.size - shown;
  const text = `${chosen.size} chosen${elsewhere ? `, ${elsewhere} not on this page` : ""}`;
  if (count.textContent !== text) count.textContent = text;
  bar.querySelector("[data-compare]").disabled = chosen.size < FEWEST || chosen.size > MOST;
  sessionStorage.setItem(STORE, JSON.stringify([...chosen]));
}

function choose(boxes, isChosen) {
  for (const box of boxes) chosen[isChosen ? "add" : "delete"](box.value);
  show();
}

// With shift, all from the one that was ticked before.
view.addEventListener("click", ({ target, shiftKey }) => {
  if (target.matches(".job-tick-all")) return choose(ticks(), target.checked);
  if (!target.matches(".job-tick")) return;
  const boxes = ticks();
  const ends = [boxes.indexOf(target), boxes.findIndex((box) => box.value === last)].sort((one, other) => one - other);
  const range = shiftKey && ends[0] >= 0 ? boxes.slice(ends[0], ends[1] + 1) : [target];
  last = target.value;
  choose(range, target.checked);
});

// Rows come and go, and whole lists.
document.addEventListener("htmx:finally:request", ({ target }) => target === view && show());

bar.addEventListener("click", async ({ target }) => {
  const ids = new URLSearchParams([...chosen].map((id) => ["id", id]));
  if ("clear" in target.dataset) {
    chosen.clear();
    show();
    view.focus({ preventScroll: true });
  } else if ("compare" in target.dataset) location.assign(`${target.dataset.compare}?${ids}`);
  else if (target.dataset.chosen) await fill(() => fetchText(`${target.dataset.chosen}?${ids}`));
});

async function fill(request) {
  const text = await request().catch(() =>
    showProblem("The server could not answer. Check the list before you try again."),
  );
  if (!text) return dialog.close();
  dialog.innerHTML = text;
  if (!dialog.open) dialog.showModal();
}

async function send(form) {
  const response = await fetch(form.action, {
    method: "POST",
    headers: changeHeaders(),
    body: new URLSearchParams(/** @type {any} */ (new FormData(form))),
  });
  if (!response.ok) throw new Error(String(response.status));
  return response.text();
}

dialog.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  if (button.disabled) return;
  button.disabled = true;
  await fill(() => send(event.target));
  for (const { dataset } of dialog.querySelectorAll("[data-done]")) chosen.delete(dataset.done);
  dialog.querySelector("#chosen-title")?.focus();
  show();
  refreshList();
});
dialog.addEventListener("click", ({ target }) => "close" in target.dataset && dialog.close());

show();
