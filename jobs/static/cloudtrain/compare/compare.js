// The curves of several jobs over each other.

import { call } from "../shell/page.js";
import { refresh } from "../shell/sections.js";
import { onThemeChange } from "../shell/theme.js";
import { Charts, loadPlot } from "../curves/charts.js";
import "../results/small_copies.js";

// A worker reads a long log in some seconds.
const PAUSE_MS = 1_500;
const MOST_TRIES = 80;
// The curves of a job that runs are at most half a minute old.
const GROWTH_MS = 20_000;
const ENDED = new Set(["completed", "failed", "cancelled"]);

const find = (id) => document.getElementById(id);
const { address, script, byTime } = find("curves").dataset;
const names = [...document.querySelectorAll(".compare thead a")].map((one) =>
  one.textContent.replace(/\s+/g, " ").trim(),
);
let charts = null;
let tries = 0;
let wasReading = false;

async function read() {
  let answer = null;
  let Plot = null;
  try {
    [answer, Plot] = await Promise.all([call("GET", address), loadPlot(script)]);
  } catch (refusal) {
    if (!charts) showState(refusal.message);
    return;
  }
  const isReading = answer.jobs.some((job) => job.is_being_read);
  if (isReading && tries < MOST_TRIES) {
    tries += 1;
    wasReading = true;
    setTimeout(read, PAUSE_MS);
    return;
  }
  show(answer.jobs, Plot);
  // The table has losses too.
  if (wasReading) refresh(find("compare-result"));
  tries = 0;
  wasReading = false;
  if (answer.jobs.some(({ status }) => !ENDED.has(status))) setTimeout(readAgain, GROWTH_MS);
}

/** A job that runs has more figures and pictures by now. */
function readAgain() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", readAgain, { once: true });
    return;
  }
  refresh(find("compare-result"));
  refresh(find("compare-pictures"));
  read();
}

function show(jobs, Plot) {
  const hasFigures = jobs.some(({ series }) => Object.values(series).some((points) => points.length));
  if (!hasFigures) {
    const isOver = jobs.every(({ status }) => ENDED.has(status));
    return showState(isOver ? "The logs have no figures." : "The logs have no figures so far.");
  }
  find("curves-state").hidden = true;
  find("curves-body").hidden = false;
  charts ??= start(Plot);
  charts.show(jobs.map((job, index) => ({ ...job, name: names[index] })));
  colour();
}

function showState(text) {
  find("curves-state").textContent = text;
  find("curves-state").hidden = false;
  find("curves-body").hidden = true;
}

function start(Plot) {
  find("plots").replaceChildren();
  const made = new Charts(find("plots"), find("curves"), Plot);
  const { time } = made.tools;
  time.checked = byTime !== undefined;
  time.addEventListener("change", () => keepInAddress(time.checked));
  onThemeChange(colour);
  document.addEventListener("htmx:finally:request", colour);
  return made;
}

/** The address says how the curves are seen, so that it can be sent to others. */
function keepInAddress(isByTime) {
  const here = new URL(location.href);
  if (isByTime) here.searchParams.set("by", "time");
  else here.searchParams.delete("by");
  history.replaceState(null, "", here);
}

/** Mark the columns with the colours of their lines; a part that was fetched anew has marks without one. */
function colour() {
  for (const key of charts ? document.querySelectorAll(".run-key") : []) {
    key.style.setProperty("--key", charts.colourOf(Number(key.dataset.run)));
  }
}

read();
