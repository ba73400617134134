// Parts of a page that the server renders, fetched anew by htmx when the event stream tells of something that concerns them.
//
//   <section data-live="job_status_changed approval_requested" data-live-job="01J..."
//            hx-get="/queue/waiting" hx-trigger="event" hx-swap="innerMorph">
//
// `data-live`: the types of event, or `job_status_changed:cancelled` with one status alone; `data-live-job`: only those
// of these jobs. The element itself stays; what the answer
// holds is morphed into it, so that what is open stays open and the keyboard stays where it was.

import { onEvent, readerHeaders, showProblem, signedOut } from "./page.js";
import { showTimes } from "./times.js";

// Many events at once are one request.
const GATHER_MS = 200;
const RETRY_MS = 10_000;

const stale = new Set();
const busy = new Set();
let gathering = 0;

const sections = () => document.querySelectorAll("[data-live]");

function concerns(section, event) {
  const { live, liveJob } = section.dataset;
  const wanted = live.split(/\s+/);
  const isWanted = wanted.includes(event.type) || wanted.includes(`${event.type}:${event.status}`);
  return isWanted && (!liveJob || liveJob.split(/\s+/).includes(event.job_id));
}

/** Fetch `section` anew, soon; never twice at a time. */
export function refresh(section) {
  stale.add(section);
  gathering ||= setTimeout(ask, GATHER_MS);
}

function ask() {
  gathering = 0;
  for (const section of stale) {
    if (busy.has(section)) continue;
    stale.delete(section);
    if (!section.isConnected) continue;
    busy.add(section);
    htmx.trigger(section, "event");
  }
}

document.addEventListener("htmx:config:request", (event) =>
  Object.assign(event.detail.ctx.request.headers, readerHeaders()),
);

document.addEventListener("htmx:finally:request", (event) => {
  if (!busy.delete(event.target)) return;
  showTimes(event.target);
  if (stale.has(event.target)) refresh(event.target);
});

document.addEventListener("htmx:error", (event) => {
  if ("live" in event.target.dataset) setTimeout(refresh, RETRY_MS, event.target);
});

document.addEventListener("htmx:response:error", (event) => {
  const { status } = event.detail.ctx.response;
  if (status === 401) signedOut();
  else if (status === 404) showProblem("This is no longer there, or no longer yours to see.");
  else if ("live" in event.target.dataset) setTimeout(refresh, RETRY_MS, event.target);
});

onEvent({
  event: (event) => sections().forEach((section) => concerns(section, event) && refresh(section)),
  refresh: () => sections().forEach(refresh),
});
