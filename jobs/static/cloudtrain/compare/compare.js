// The curves of several jobs over each other.

import { call } from "../shell/page.js";
import { Charts, loadPlot } from "../curves/charts.js";
import "../results/small_copies.js";

// A worker reads a long log in some seconds.
const PAUSE_MS = 1_500;
const MOST_TRIES = 80;

const find = (id) => document.getElementById(id);
const { address, script, style, byTime, reading } = find("curves").dataset;
const names = [...document.querySelectorAll(".compare thead a")].map((one) => one.textContent);
let tries = 0;

async function read() {
  let answer = null;
  let Plot = null;
  try {
    [answer, Plot] = await Promise.all([call("GET", address), loadPlot({ script, style })]);
  } catch (refusal) {
    find("curves-state").textContent = refusal.message;
    return;
  }
  const waits = answer.jobs.some((job) => job.is_being_read);
  if (waits && tries < MOST_TRIES) {
    tries += 1;
    setTimeout(read, PAUSE_MS);
    return;
  }
  // The table has losses too.
  if (reading !== undefined && !waits) location.reload();
  else show(answer.jobs, Plot);
}

function show(jobs, Plot) {
  const hasFigures = jobs.some(({ series }) => Object.values(series).some((points) => points.length));
  find("curves-state").hidden = hasFigures;
  find("curves-body").hidden = !hasFigures;
  if (!hasFigures) {
    find("curves-state").textContent = "The logs have no figures.";
    return;
  }
  const charts = new Charts(find("plots"), find("curves"), Plot);
  const { time } = charts.tools;
  time.checked = byTime !== undefined;
  time.addEventListener("change", () => keepInAddress(time.checked));
  charts.show(jobs.map((job, index) => ({ ...job, name: names[index] })));
  colour(charts);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colour(charts));
}

/** The address says how the curves are seen, so that it can be sent to others. */
function keepInAddress(isByTime) {
  const here = new URL(location);
  if (isByTime) here.searchParams.set("by", "time");
  else here.searchParams.delete("by");
  history.replaceState(null, "", here);
}

function colour(charts) {
  for (const key of document.querySelectorAll(".run-key")) {
    key.style.setProperty("--key", charts.colourOf(Number(key.dataset.run)));
  }
}

read();
