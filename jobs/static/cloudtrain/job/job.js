// The page of one job: what the stream tells between two looks, what may be done, what may be copied.

import { fetchText, onEvent, showProblem, toast } from "../shell/page.js";
import { refresh } from "../shell/sections.js";
import { endCurves, readCurvesSoon, showNoCurves } from "./curves.js";
import { onGrowth, readSoon } from "./job_log.js";
import { askAndCancel, askAndDelete, askAndRetry } from "../list/job_acts.js";
import { askAndSetLimit } from "./fuse.js";

// The bar moves with each word of the stream; what follows from it (cost, time left) needs the server.
const PAUSE_MS = 5_000;

const find = (id) => document.getElementById(id);
const page = find("main");
const { job: jobId, list } = page.dataset;
const name = () => find("job-name").textContent;
const kind = () => find("job-card").dataset.kind;
const isWaiting = () => ["pending", "held"].includes(kind());

let shownKind = kind();
let later = 0;

function refreshLater() {
  later ||= setTimeout(() => {
    later = 0;
    refresh(find("head"));
  }, PAUSE_MS);
}

function showProgress({ stage, progress, last_log: lastLog }) {
  const card = find("job-card");
  const bar = card.querySelector("progress");
  if (!bar) return refresh(find("head"));
  if (stage) card.querySelector("[data-stage]").textContent = stage;
  if (lastLog) card.querySelector("[data-last-log]").textContent = lastLog;
  if (typeof progress === "number") {
    bar.value = progress;
    card.querySelector("[data-percent]").textContent = `${Math.floor(progress)} %`;
  }
  refreshLater();
}

onEvent({
  event(event) {
    // Each place in the queue depends on the others.
    if (event.type === "queue_changed" && isWaiting()) refreshLater();
    if (event.job_id !== jobId) return;
    if (event.type === "job_progress") showProgress(event);
    readSoon();
  },
  refresh: readSoon,
});

// Whatever brought the change, the part that shows it has been fetched anew.
document.addEventListener("htmx:finally:request", () => {
  if (!find("job-card") || kind() === shownKind) return;
  // What was just pressed may be gone.
  if (document.activeElement === document.body) page.focus({ preventScroll: true });
  shownKind = kind();
  const text = `${name()}: ${find("job-chip").textContent}`;
  find("spoken").textContent = text;
  document.title = `${text} · cloudtrain`;
  endCurves();
  readSoon();
});

// The cause stands at the end of an error.
document.addEventListener(
  "toggle",
  ({ target }) => {
    const text = target.querySelector?.("[data-end-first]");
    if (text) text.scrollTop = text.scrollHeight;
  },
  true,
);

onGrowth(readCurvesSoon);
const hasEnded = "ended" in find("job-card").dataset;
showNoCurves(
  hasEnded ? "They are read from the log, as far as there is one." : "They begin with the first figures in the log.",
);

// Doing

const ACTS = {
  cancel: askAndCancel,
  fuse: askAndSetLimit,
  async retry(...args) {
    const made = await askAndRetry(...args);
    if (made) location.assign(made.address);
  },
  async delete(...args) {
    if (await askAndDelete(...args)) location.assign(list);
  },
};

page.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  try {
    await ACTS[button.dataset.act](jobId, name(), button);
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  refresh(find("head"));
});

// Copying

async function textOf({ copy, copyAddress }) {
  return copy ?? (await fetchText(copyAddress)) ?? "";
}

page.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-address]");
  if (!button) return;
  try {
    await copyText(await textOf(button.dataset));
    toast("Copied.");
  } catch {
    showProblem("The browser did not let us copy this. Select it, or download it.");
  }
});

// Without HTTPS a page has no clipboard of its own, but a selection can still be copied.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "for-listeners" });
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  if (!isDone) throw new Error("refused");
}
