// The list of jobs: each row as the server renders it, fetched anew when the event stream says that it changed.

import { askAndCancel, askAndDelete, askAndRetry } from "./job_acts.js";
import { closeMenu } from "../shell/menus.js";
import { fetchText, onEvent, showProblem, signedOut, toast } from "../shell/page.js";
import { showTimes } from "../shell/times.js";

const RETRY_MS = 10_000;
// Many events at once are one request.
const GATHER_MS = 150;
const MOST_AT_ONCE = 50;
const MOST_ROWS = 200;
const SPOKEN = 3;

const page = document.querySelector("#jobs-page");
const find = (id) => document.getElementById(id);
const shown = () => find("job-list").dataset; // cursor and sort
const list = () => find("job-rows");
const rowOf = (jobId) => find(`job-${jobId}`);
const allRows = () => [...(list()?.rows ?? [])];

// What is to be fetched, one request after the other, so that no answer can overtake a newer one.

const stale = new Set();
let isWholeListStale = false;
let retry = 0;
let isFetching = false;
let gathering = 0;

function refresh(jobId) {
  stale.add(jobId);
  schedule();
}

export function refreshList() {
  clearTimeout(retry);
  retry = 0;
  isWholeListStale = true;
  schedule();
}

let isElsewhere = false;

/** Show the list of another address in place of this one. */
export function goTo(address) {
  if (address !== location.href) history.pushState(null, "", address);
  showPlace();
}

/** Show the list of the address, which has changed. */
export function showPlace() {
  isElsewhere = true;
  page.setAttribute("aria-busy", "true");
  refreshList();
}

function schedule() {
  gathering ||= setTimeout(fetchStale, GATHER_MS);
}

async function fetchStale() {
  gathering = 0;
  if (isFetching) return; // whoever fetches looks again when done
  isFetching = true;
  try {
    while (isWholeListStale || stale.size) {
      if (isWholeListStale) await fetchList();
      else await fetchRows();
    }
  } catch {
    // The server can't be reached, and which rows were asked for is forgotten.
    retry ||= setTimeout(refreshList, RETRY_MS);
  } finally {
    isFetching = false;
  }
}

async function fetchList() {
  isWholeListStale = false;
  stale.clear();
  const address = location.href;
  const text = await fetchText(address);
  if (text === null) return;
  const there = new DOMParser().parseFromString(text, "text/html");
  const fresh = there.querySelector("#job-list");
  if (!fresh) return signedOut();
  if (address !== location.href) return refreshList(); // the reader has gone on
  if (isElsewhere) return arrive(there, fresh);
  showCounts(there);
  const freshRows = fresh.querySelector("#job-rows")?.rows;
  if (!freshRows || !list()) return replaceList(fresh);
  const kept = new Set([...freshRows].map((row) => row.id));
  for (const row of allRows()) if (!kept.has(row.id)) drop(row);
  [...freshRows].forEach(replaceRow);
  find("pager").replaceWith(document.importNode(fresh.querySelector("#pager"), true));
}

function arrive(there, fresh) {
  isElsewhere = false;
  page.removeAttribute("aria-busy");
  document.querySelector(".tabs").replaceWith(document.importNode(there.querySelector(".tabs"), true));
  replaceList(fresh);
  const count = allRows().length;
  const more = document.querySelector("#pager [data-older]") ? "The first " : "";
  find("spoken").textContent = count ? `${more}${count} ${count === 1 ? "job" : "jobs"}` : "No job is like that";
}

function replaceList(fresh) {
  find("job-list").replaceWith(document.importNode(fresh, true));
  allRows().forEach(remember);
  showTimes(find("job-list"));
}

async function fetchRows() {
  const ids = [...stale].slice(0, MOST_AT_ONCE);
  ids.forEach((id) => stale.delete(id));
  const query = new URLSearchParams(location.search);
  ids.forEach((id) => query.append("id", id));
  const text = await fetchText(`${page.dataset.rows}?${query}`);
  if (text === null) return;
  const answer = document.createElement("template");
  answer.innerHTML = text;
  const fresh = [...answer.content.querySelectorAll("tr")];
  const gone = new Set(ids.map((id) => `job-${id}`));
  fresh.forEach((row) => gone.delete(row.id));
  gone.forEach((id) => drop(find(id)));
  // From empty to not, or back: the page has other words then.
  if (!list() ? fresh.length : !allRows().length && !fresh.length) isWholeListStale = true;
  else fresh.forEach(replaceRow);
  showCounts(answer.content);
  trim();
}

// One row, in its place. Ids sort by time.

const sources = new WeakMap();
const remember = (row) => sources.set(row, row.outerHTML);

const byAge = (one, other) => (one.dataset.job < other.dataset.job ? -1 : 1);
// As jobs/order_sql.py has it: no other letters have a case.
const nameOf = (row) => row.querySelector("bdi").textContent.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
const compare = (one, other) => (one < other ? -1 : Number(one > other));

function ran(row) {
  const since = row.querySelector("[data-running-since]")?.dataset.runningSince;
  return since ? Date.now() - Date.parse(since) : Number(row.dataset.ran);
}

const ORDERS = {
  newest: (one, other) => byAge(other, one),
  oldest: byAge,
  name: (one, other) => compare(nameOf(one), nameOf(other)) || byAge(one, other),
  status: (one, other) => compare(other.dataset.status, one.dataset.status) || byAge(other, one),
  duration: (one, other) => ran(other) - ran(one) || byAge(other, one),
  cost: (one, other) => Number(other.dataset.cost) - Number(one.dataset.cost) || byAge(other, one),
};

function replaceRow(fresh) {
  const row = document.importNode(fresh, true);
  const old = rowOf(row.dataset.job);
  remember(row);
  if (old && sources.get(old) === sources.get(row)) return;
  if (!place(row, old)) return;
  showTimes(row);
  if (old?.dataset.kind === row.dataset.kind) return;
  row.classList.add("is-changed");
  announce(row.id, `${row.querySelector("bdi").textContent}: ${row.querySelector(".chip").textContent.trim()}`);
}

// False: it belongs to a page further on.
function place(row, old) {
  const order = ORDERS[shown().sort];
  const next = allRows().find((other) => other !== old && order(row, other) < 0) ?? null;
  if (!old && !next && allRows().length && older()) return false;
  if (old) keepUse(old, row);
  if (old && old.nextElementSibling === next) old.replaceWith(row);
  else {
    old?.remove();
    list().insertBefore(row, next);
  }
  return true;
}

// Nor does the keyboard go with a row that goes.
function drop(row) {
  const hadKeyboard = row?.contains(document.activeElement);
  row?.remove();
  if (hadKeyboard) page.focus({ preventScroll: true });
}

// What the reader has opened stays open, and the keyboard stays where it was.
function keepUse(old, row) {
  for (const opened of old.querySelectorAll("details[open]")) {
    const again = row.querySelector(`details.${opened.classList[0]}`);
    if (again) again.open = true;
  }
  row.querySelector(".job-tick").checked = old.querySelector(".job-tick").checked;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  if (!focused) return;
  const again = focused.dataset.act && row.querySelector(`[data-act="${focused.dataset.act}"]`);
  queueMicrotask(() => (again ?? page).focus({ preventScroll: true }));
}

const older = () => document.querySelector("#pager [data-older]");

function trim() {
  const rows = allRows();
  if (!older() || rows.length <= MOST_ROWS) return;
  rows.slice(MOST_ROWS).forEach((row) => row.remove());
  const address = new URL(older().href);
  address.searchParams.set("cursor", rows[MOST_ROWS - 1].dataset.job);
  older().href = address.href;
}

function showCounts(root) {
  for (const fresh of root.querySelectorAll("[data-tab]")) {
    const count = document.querySelector(`.tabs [data-tab="${fresh.dataset.tab}"]`);
    count.textContent = fresh.textContent;
    count.dataset.count = fresh.dataset.count;
  }
}

// Whether the job may belong between the first and the last row of this page. All but its age, only the server knows.
function isInReach(jobId) {
  const { cursor, sort } = shown();
  if (sort !== "newest" && sort !== "oldest") return true;
  const isBefore = (one, other) => (sort === "oldest" ? one < other : one > other);
  const last = older() && allRows().at(-1);
  return !(last && isBefore(last.dataset.job, jobId)) && (!cursor || isBefore(cursor, jobId));
}

// What the stream tells.

function onRowEvent(event) {
  if (event.type === "job_progress") return showProgress(event);
  if (event.type === "queue_changed") {
    allRows()
      .filter((row) => "waits" in row.dataset)
      .forEach((row) => refresh(row.dataset.job));
  } else if (event.job_id && (rowOf(event.job_id) || isInReach(event.job_id))) {
    refresh(event.job_id);
  }
}

function showProgress({ job_id: jobId, stage, progress, cost_usd: cost }) {
  const row = rowOf(jobId);
  if (!row) return;
  // Only the server writes money as words.
  const isUnknown = "costUnknown" in row.dataset;
  if (cost === null ? !isUnknown : cost !== undefined && (isUnknown || cost !== Number(row.dataset.cost)))
    refresh(jobId);
  const bar = row.querySelector("progress");
  // No bar: the row is older than the news. A fetch on its way may be older, too.
  if (!bar || isFetching) refresh(jobId);
  if (!bar) return;
  if (stage) row.querySelector("[data-stage]").textContent = stage;
  if (typeof progress !== "number") return;
  bar.value = progress;
  row.querySelector("[data-percent]").textContent = `${Math.floor(progress)} %`;
}

// By row: of two changes in quick succession, the second is the news.
const unspoken = new Map();
let speaking = 0;

function announce(rowId, text) {
  unspoken.set(rowId, text);
  speaking ||= setTimeout(speak, 500);
}

function speak() {
  speaking = 0;
  const texts = [...unspoken.values()];
  unspoken.clear();
  find("spoken").textContent = texts.length > SPOKEN ? `${texts.length} jobs changed` : texts.join(". ");
}

onEvent({ event: onRowEvent, refresh: refreshList });

// What is done to a job from here.

const ACTS = {
  cancel: askAndCancel,
  async retry(...args) {
    if (await askAndRetry(...args)) toast("Submitted again.");
  },
  delete: askAndDelete,
};

page.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  const act = button && ACTS[button.dataset.act];
  if (!act) return;
  const { job } = button.closest("tr").dataset;
  closeMenu(button.closest(".menu"));
  try {
    await act(job, rowOf(job).querySelector("bdi").textContent, button);
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  refresh(job);
});

allRows().forEach(remember);
