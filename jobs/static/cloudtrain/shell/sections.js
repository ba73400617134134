// Parts of a page that the server renders, fetched anew by htmx when the event stream tells of something that concerns them.
//
//   <section data-live="job_status_changed approval_requested" data-live-job="01J..."
//            hx-get="/queue/waiting" hx-trigger="event" hx-swap="innerMorph">
//
// `data-live`: the types of event, or `job_status_changed:cancelled` with one status alone; `data-live-job`: only those
// of these jobs. The element itself stays; what the answer
// holds is morphed into it, so that what is open stays open and the keyboard stays where it was.
//
// `data-live-rows="job-"`: of events about a job that has a row in it, `id="job-01J..."`, that row alone is fetched: the
// address is asked with `id=01J...` for each, and its rows come with `hx-swap-oob="outerMorph"`.

import { onEvent, readerHeaders, showProblem, signedOut } from "./page.js";
import { showTimes } from "./times.js";

// Many events at once are one request.
const GATHER_MS = 200;
const RETRY_MS = 10_000;

// By section: the ids of its stale rows; null: all of it.
const stale = new Map();
const busy = new Map();
let gathering = 0;

const sections = () => document.querySelectorAll("[data-live]");

function concerns(section, event) {
  const { live, liveJob } = section.dataset;
  const wanted = live.split(/\s+/);
  const isWanted = wanted.includes(event.type) || wanted.includes(`${event.type}:${event.status}`);
  return isWanted && (!liveJob || liveJob.split(/\s+/).includes(event.job_id));
}

function hasRow(section, { job_id: id }) {
  const prefix = section.dataset.liveRows;
  return prefix && id && section.contains(document.getElementById(prefix + id));
}

/** Fetch `section` anew, soon, or its rows of these `ids` alone; never twice at a time. */
export function refresh(section, ids = null) {
  const before = stale.get(section);
  stale.set(section, before === null || !ids ? null : new Set([...(before ?? []), ...ids]));
  gathering ||= setTimeout(ask, GATHER_MS);
}

/** Whether an answer is on its way that may be older than the latest event. */
export const isBusy = (section) => busy.has(section);

function ask() {
  gathering = 0;
  for (const [section, ids] of stale) {
    if (busy.has(section)) continue;
    stale.delete(section);
    if (!section.isConnected) continue;
    busy.set(section, ids);
    // It must not bubble: a section around this one would be fetched, too.
    htmx.trigger(section, "event", {}, false);
  }
}

document.addEventListener("htmx:config:request", ({ target, detail: { ctx } }) => {
  Object.assign(ctx.request.headers, readerHeaders());
  const ids = busy.get(target);
  if (!ids) return;
  const query = new URLSearchParams([...ids].map((id) => ["id", id]));
  ctx.request.action += `${ctx.request.action.includes("?") ? "&" : "?"}${query}`;
  ctx.swap = "none";
});

document.addEventListener("htmx:finally:request", (event) => {
  if (!busy.delete(event.target)) return;
  showTimes(event.target);
  if (stale.has(event.target)) refresh(event.target, []);
});

document.addEventListener("htmx:error", (event) => {
  if ("live" in event.target.dataset) setTimeout(refresh, RETRY_MS, event.target);
});

document.addEventListener("htmx:response:error", (event) => {
  const { status } = event.detail.ctx.response;
  if (status === 401) signedOut();
  else if (status === 404) showProblem("This was deleted, or you no longer have access to it.");
  else if ("live" in event.target.dataset) setTimeout(refresh, RETRY_MS, event.target);
});

onEvent({
  event: (event) =>
    sections().forEach((section) => {
      if (concerns(section, event)) refresh(section, hasRow(section, event) ? [event.job_id] : null);
    }),
  refresh: () => sections().forEach((section) => refresh(section)),
});
