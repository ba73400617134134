// The log's part of a job's page: fetched in increments while somebody looks, followed, searched.

import "./job.js";
import { call } from "../shell/page.js";
import { LogView } from "./log_view.js";

// Each look may cost the provider a request; it is shared by everybody who looks at that moment.
const PAUSE_MS = 5_000;
const TYPING_MS = 150;
// The end of a log may come a little after the job's; for how many looks without anything new we wait for it.
const PATIENCE = 12;
// The API gives two megabytes at a time: a piece of this size is not the last one.
const LARGE = 400_000;

const find = (id) => document.getElementById(id);
const section = find("log");
const { address } = section.dataset;
const hasEnded = () => "ended" in find("job-card").dataset;
const hasStarted = () => !["pending", "held", "uploading"].includes(find("job-card").dataset.kind);

const view = new LogView(find("log-view"), showFollow);
let offset = 0;
let isComplete = false;
let isReading = false;
let idle = 0;
let readAt = 0;
let timer = 0;

/** Look for more, as soon as the last look is long enough ago. */
function readSoon() {
  if (isComplete || isReading) return;
  clearTimeout(timer);
  timer = setTimeout(read, Math.max(0, readAt + PAUSE_MS - Date.now()));
}

async function read() {
  if (document.hidden || isReading || isComplete) return;
  isReading = true;
  const before = offset;
  let isOver = false;
  try {
    for (let next = ask(offset); next;) {
      const piece = await next;
      // The next one is on its way while this one is drawn.
      next = piece.logs.length >= LARGE && piece.offset > offset ? ask(piece.offset) : null;
      addPiece(piece);
    }
  } catch (refusal) {
    if (view.isEmpty) showState(refusal.message);
    // Signed out, or the job is gone: asking again would not help until the page hears otherwise.
    isOver = refusal.status >= 400 && refusal.status < 500 && refusal.status !== 429;
  } finally {
    isReading = false;
    readAt = Date.now();
  }
  if (offset !== before) document.dispatchEvent(new Event("log-grown"));
  // Nobody tells of each new line: while it trains and somebody looks, we ask.
  if (hasStarted() && !isComplete && !isOver) readSoon();
}

const ask = (since) => call("GET", `${address}?since=${since}`);

function addPiece(piece) {
  // What is said without going forwards is about the log, not in it.
  if (piece.logs && piece.offset === offset) {
    showState(piece.logs.trim().replace(/^\[|\]$/g, ""));
    return;
  }
  offset = piece.offset;
  idle = piece.logs ? 0 : idle + 1;
  isComplete = piece.complete || (hasEnded() && idle > PATIENCE);
  if (piece.logs) show(piece.logs);
  else if (view.isEmpty) showWhyEmpty();
  else showState("");
}

function show(text) {
  find("log-box").hidden = false;
  find("log-search").hidden = false;
  find("log-file").hidden = false;
  view.append(text);
  showState(view.text.dropped ? `The first ${view.text.dropped.toLocaleString()} lines are only in the download.` : "");
  showFound();
  offerFinding();
}

function showWhyEmpty() {
  if (isComplete || hasEnded()) showState("This job has no log.");
  else if (hasStarted()) showState("The log is empty so far.");
  else showState("The log begins when the provider starts the job.");
}

function showState(text) {
  find("log-state").textContent = text;
  find("log-state").hidden = !text;
  find("log-state").classList.toggle("log-over", view.isEmpty && !find("log-box").hidden);
}

// Following

function showFollow() {
  find("log-follow").hidden = view.isFollowing;
  find("log-follow").textContent = isComplete ? "To the end" : "Follow";
}

find("log-follow").addEventListener("click", () => {
  view.follow();
  find("log-view").focus({ preventScroll: true });
});

// Searching

let typing = 0;

function showFound() {
  find("log-found").textContent = view.found;
  find("log-before").disabled = find("log-next").disabled = !view.matches.length;
}

function search() {
  clearTimeout(typing);
  typing = 0;
  view.search(find("log-search-text").value);
  showFound();
}

// The head is drawn anew with each change of the job.
function offerFinding() {
  for (const button of document.querySelectorAll("[data-find]")) button.hidden = view.isEmpty;
}

document.addEventListener("htmx:finally:request", offerFinding);
document.addEventListener("click", (event) => {
  const { find: text } = event.target.dataset ?? {};
  if (!text) return;
  event.preventDefault(); // the address leads to the log of those who are elsewhere
  showInLog(text);
});

function showInLog(text) {
  const field = find("log-search-text");
  field.value = text.slice(0, field.maxLength);
  search();
  // The cause stands at the end of a log, and the search begins at its beginning.
  if (view.matches.length) step(-1);
  field.focus({ preventScroll: true });
  section.scrollIntoView({ block: "start" });
}

// What the address asks for, once there is a log.
let sought = new URLSearchParams(location.search).get("find");

function showSought() {
  if (!sought || view.isEmpty) return;
  showInLog(sought);
  sought = null;
}

function step(by) {
  if (typing) search();
  else view.step(by);
  showFound();
}

find("log-search-text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_MS);
});
find("log-search-text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  step(event.shiftKey ? -1 : 1);
});
find("log-before").addEventListener("click", () => step(-1));
find("log-next").addEventListener("click", () => step(1));

document.addEventListener("log-grown", showSought);
document.addEventListener("job-news", readSoon);
document.addEventListener("job-state", readSoon);
document.addEventListener("visibilitychange", () => document.hidden || readSoon());
readSoon();
