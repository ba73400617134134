// The list of jobs. It is a section that follows the event stream, see sections.js; here is what it has beyond others: other
// addresses show in its place, progress moves without a request, and what has changed is announced.

import { askAndCancel, askAndDelete, askAndRetry } from "./job_acts.js";
import { closeMenu } from "../shell/menus.js";
import { onEvent, showProblem, toast } from "../shell/page.js";
import { rememberList } from "../shell/keys.js";
import { isBusy, refresh } from "../shell/sections.js";

const SPOKEN = 3;

const view = document.getElementById("jobs-view");
const spoken = document.getElementById("spoken");
const rows = () => [...view.querySelectorAll(".job")];
const nameOf = (row) => row.querySelector(".job-link bdi").textContent;

// Other addresses, in place.

let isElsewhere = false;

export const refreshList = () => refresh(view);

/** Show the list of another address in place of this one. */
export function goTo(address) {
  if (address !== location.href) history.pushState(null, "", address);
  isElsewhere = true;
  view.setAttribute("aria-busy", "true");
  refreshList();
}

view.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="?"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  goTo(link.href);
});
addEventListener("popstate", () => goTo(location.href));

let asked = "";
let hadKeyboard = false;

// The list is fetched for the page's own address. This listener comes before that of sections.js, which adds the rows.
document.addEventListener(
  "htmx:config:request",
  ({ target, detail: { ctx } }) => {
    if (!target.matches("#jobs-view, #totals, .panel")) return;
    ctx.request.action += location.search;
    if (target !== view) return;
    asked = location.search;
    hadKeyboard = view.contains(document.activeElement);
  },
  { capture: true },
);

document.addEventListener("htmx:finally:request", ({ target, detail: { ctx } }) => {
  if (target !== view || ctx.status !== "swapped") return;
  if (asked !== location.search) return refreshList(); // the reader has gone on
  if (hadKeyboard && document.activeElement === document.body) view.focus({ preventScroll: true });
  if (isElsewhere) arrive();
  else announceChanges();
  kinds = kindsNow();
});

function arrive() {
  isElsewhere = false;
  rememberList();
  view.removeAttribute("aria-busy");
  refreshTotals();
  const count = rows().length;
  const more = view.querySelector("[data-last]") ? "The first " : "";
  spoken.textContent = count ? `${more}${count} ${count === 1 ? "job" : "jobs"}` : "No jobs match these filters";
}

// The totals cost more than a row: they come after the page, and a few seconds after a change.

const TOTALS_MS = 5_000;
let totalsAreDue = 0;

function refreshTotals() {
  totalsAreDue = 0;
  refresh(document.getElementById("totals"));
}

refreshTotals();
rememberList();

// What has changed.

const kindsNow = () => new Map(rows().map((row) => [row.id, row.dataset.kind]));
let kinds = kindsNow();

function announceChanges() {
  const changed = rows().filter((row) => kinds.get(row.id) !== row.dataset.kind);
  if (!changed.length) return;
  changed.forEach((row) => row.classList.add("is-changed"));
  const texts = changed.map((row) => `${nameOf(row)}: ${row.querySelector(".chip").firstChild.textContent.trim()}`);
  spoken.textContent = texts.length > SPOKEN ? `${texts.length} jobs changed` : texts.join(". ");
}

// What the stream brings besides.

onEvent({
  event(event) {
    if (event.type === "job_progress") showProgress(event);
    if (event.type === "job_status_changed") totalsAreDue ||= setTimeout(refreshTotals, TOTALS_MS);
    if (event.type !== "queue_changed") return;
    const waiting = [...view.querySelectorAll("[data-waits]")].map((row) => row.dataset.job);
    if (waiting.length) refresh(view, waiting);
  },
});

function showProgress({ job_id: id, stage, progress, cost_usd: cost }) {
  const row = document.getElementById(`job-${id}`);
  if (!row) return;
  // Only the server writes money as words.
  const isUnknown = "costUnknown" in row.dataset;
  const isOld = cost === null ? !isUnknown : cost !== undefined && (isUnknown || cost !== Number(row.dataset.cost));
  const bar = row.querySelector("progress");
  // No bar: the row is older than the news. A fetch on its way may be older, too.
  if (isOld || !bar || isBusy(view)) refresh(view, [id]);
  if (!bar) return;
  if (stage) row.querySelector("[data-aside]").textContent = row.querySelector(".chip").title = stage;
  if (typeof progress !== "number") return;
  bar.value = progress;
  row.querySelector("[data-percent]").textContent = `${Math.floor(progress)} %`;
}

// What is done to a job from here.

const ACTS = {
  cancel: askAndCancel,
  async retry(...args) {
    if (await askAndRetry(...args)) toast("Submitted again.");
  },
  delete: askAndDelete,
};

view.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  const row = button.closest(".job");
  const { job } = row.dataset;
  const menu = button.closest(".menu");
  closeMenu(menu);
  try {
    await ACTS[button.dataset.act](job, nameOf(row), menu.querySelector("summary"));
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  refresh(view, [job]);
});
