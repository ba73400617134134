// The page of one job: what the stream tells between two looks, what may be done, what may be copied. The tabs with a log
// or curves have scripts of their own, which listen to the two events that this one sends to the document:
// `job-news` (something about this job) and `job-state` (the head shows another state).

import { fetchText, onEvent, showProblem, toast } from "../shell/page.js";
import { refresh } from "../shell/sections.js";
import { closeMenu } from "../shell/menus.js";
// At once and not with the first act: whoever types on after it must find the question there.
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
const send = (type) => document.dispatchEvent(new Event(type));

let shownKind = kind();
let later = 0;

// The details, which are on one tab only, have what the job may cost.
const refreshAll = () => ["head", "details"].map(find).forEach((part) => part && refresh(part));

function refreshLater() {
  later ||= setTimeout(() => {
    later = 0;
    refreshAll();
  }, PAUSE_MS);
}

function showProgress({ stage, progress, step, total_steps: steps }) {
  const card = find("job-card");
  const bar = card.querySelector("progress");
  if (!bar) return refresh(find("head"));
  if (stage) card.querySelector("[data-stage]").textContent = stage;
  if (typeof progress === "number") {
    bar.value = progress;
    card.querySelector("[data-percent]").textContent = `${Math.floor(progress)} %`;
    // Of the same report as the percentage.
    card.querySelector("[data-steps]").textContent =
      typeof step === "number" && steps ? `step ${step} of ${steps}` : "";
  }
  refreshLater();
}

onEvent({
  event(event) {
    // Each place in the queue depends on the others.
    if (event.type === "queue_changed" && isWaiting()) refreshLater();
    if (event.job_id !== jobId) return;
    if (event.type === "job_progress") showProgress(event);
    send("job-news");
  },
  refresh: () => send("job-news"),
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
  send("job-state");
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
  closeMenu(button.closest(".menu"));
  try {
    await ACTS[button.dataset.act](jobId, name(), button);
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  refreshAll();
});

// Copying

async function textOf({ copy, copyAddress, copyLink }) {
  if (copyLink !== undefined) return new URL(`/jobs/${encodeURIComponent(jobId)}`, location.href).href;
  return copy ?? (await fetchText(copyAddress)) ?? "";
}

page.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-address], [data-copy-link]");
  if (!button) return;
  closeMenu(button.closest(".menu"));
  try {
    await copyText(await textOf(button.dataset));
    toast("Copied.");
  } catch {
    showProblem("The browser does not allow copying this. Select it, or download it.");
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
