// Decides about requests in place, and ticks several. The server renders what the page shows (sections.js).

import { decide } from "./deciding.js";
import { showProblem } from "../cloudtrain/shell/page.js";
import { refresh } from "../cloudtrain/shell/sections.js";

const approvals = document.getElementById("approvals");
const spoken = document.getElementById("spoken");

// What the API answered when somebody else was faster, by request; it stays beside the request wherever that goes.
const answers = new Map();

function showAnswers() {
  for (const [id, text] of answers) {
    const element = approvals.querySelector(`[data-request="${id}"] .answer`);
    if (!element) {
      answers.delete(id);
      showProblem(text);
    } else if (element.textContent !== text) {
      element.textContent = text;
      element.hidden = false;
    }
  }
}

// A request that is decided goes from under the keyboard: the one that was beside it takes its place.
let beside = null;

function stay() {
  if (beside && document.activeElement === document.body) {
    const element = beside.isConnected ? beside : document.getElementById("main");
    element.focus({ preventScroll: true });
  }
  beside = null;
}

approvals.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button || button.disabled) return;
  const item = button.closest("[data-request]");
  try {
    if (!(await decide(button, item))) return;
  } catch (refusal) {
    if (refusal.status === 409) answers.set(item.dataset.request, refusal.message);
    else if (refusal.status !== 401) showProblem(refusal.message);
  }
  beside = item.nextElementSibling ?? item.previousElementSibling ?? item;
  refresh(approvals);
});

// The form of the ticked requests leads to a page that asks. The ticks are kept while the section is fetched anew.

const ticked = new Set();
const ticks = () => [...approvals.querySelectorAll(".tick")];

function sumOf(boxes) {
  const known = boxes.map((box) => box.dataset.adds).filter((amount) => amount !== "");
  const sum = known.reduce((total, amount) => total + Number(amount), 0);
  const dollars = sum.toLocaleString("en-US", { style: "currency", currency: "USD" });
  const unknown = boxes.length - known.length;
  return `${boxes.length} ticked, about ${dollars} together${unknown ? `, ${unknown} of unknown cost` : ""}`;
}

function showTicks() {
  if (!document.getElementById("decide-several")) return;
  for (const box of ticks()) box.checked = ticked.has(box.value);
  const chosen = ticks().filter((box) => box.checked);
  const all = document.getElementById("tick-all");
  all.checked = chosen.length > 0 && chosen.length === ticks().length;
  all.indeterminate = chosen.length > 0 && !all.checked;
  const sum = document.getElementById("ticked-sum");
  const text = sumOf(chosen);
  if (sum.textContent !== text) sum.textContent = text;
}

approvals.addEventListener("change", ({ target }) => {
  if (!target.matches(".tick, #tick-all")) return;
  const boxes = target.matches(".tick") ? [target] : ticks();
  for (const box of boxes) ticked[target.checked ? "add" : "delete"](box.value);
  showTicks();
});
showTicks();

// A filter counts as soon as it is chosen.
document.getElementById("filters")?.addEventListener("change", ({ currentTarget, target }) => {
  if (!target.matches("[name=person]")) currentTarget.requestSubmit();
});

// The request that the address names, such as #request-7: shown, and under the keyboard. It may be further down than the
// page goes, which is then asked for it by its number; so is every later look, lest it be pushed off.

const base = approvals.getAttribute("hx-get");
let sought = null;

function seek() {
  sought = location.hash.match(/^#request-(\d+)$/)?.[1] ?? null;
  if (!sought) return;
  approvals.setAttribute("hx-get", `${base}${base.includes("?") ? "&" : "?"}request=${sought}`);
  if (!arrive()) refresh(approvals);
}

function arrive() {
  const element = document.getElementById(`request-${sought}`);
  if (!element) return false;
  sought = null;
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "center" });
  return true;
}

addEventListener("hashchange", seek);
seek();

const pending = () => approvals.querySelectorAll(".request").length;
let announced = pending();

document.addEventListener("htmx:finally:request", (event) => {
  if (event.target !== approvals) return;
  if (sought) arrive();
  showAnswers();
  showTicks();
  stay();
  if (pending() === announced) return;
  announced = pending();
  spoken.textContent = `${announced} pending`;
});
