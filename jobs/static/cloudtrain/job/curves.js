// The figures of a job's log: as curves, and as numbers for everybody.

import "./job.js";
import { call } from "../shell/page.js";
import { Charts, loadPlot } from "../curves/charts.js";
import { gapText, inOrder, nameOf, number } from "../curves/figures.js";

const PAUSE_MS = 10_000;
// Long logs have many figures: the longer it takes to read them, the less often.
const REST = 20;
const MOST_ROWS = 60;
// More than a screen has pixels across.
const MOST_POINTS = 4_000;

const NONE = "No metrics recorded.";
const SOON = "Curves appear once training reports a loss.";

const find = (id) => document.getElementById(id);
const hasEnded = () => "ended" in find("job-card").dataset;
const hasStarted = () => "started" in find("job-card").dataset;
const { address, script } = find("curves").dataset;
let charts = null;
let isEmpty = false;
let known = "";
let readAt = 0;
let pause = PAUSE_MS;
let timer = 0;

/** Look at the figures again, as soon as the last look is long enough ago. */
function readSoon() {
  timer ||= setTimeout(read, Math.max(0, readAt + pause - Date.now()));
}

function showNoCurves(text) {
  if (known) return;
  find("curves-state").textContent = text;
  find("curves").classList.remove("curves-awaited");
}

// A log that told no figures before the job's end tells none; nor does one that never began.
function showWhyEmpty() {
  if (isEmpty || !hasStarted()) showNoCurves(hasEnded() ? NONE : SOON);
}

async function read() {
  timer = 0;
  const began = Date.now();
  let answer = null;
  let Plot = null;
  try {
    [answer, Plot] = await Promise.all([call("GET", `${address}?points=${MOST_POINTS}`), loadPlot(script)]);
  } catch (refusal) {
    showNoCurves(refusal.message);
    return;
  } finally {
    readAt = Date.now();
    pause = Math.max(PAUSE_MS, REST * (readAt - began));
  }
  const { series, seconds, gaps } = answer;
  const figures = inOrder(new Set([...Object.keys(series), ...Object.keys(gaps)])).filter(
    (name) => series[name]?.length || gaps[name]?.length,
  );
  isEmpty = !figures.length;
  if (isEmpty) return showWhyEmpty();
  const now = JSON.stringify([figures.map((name) => [name, series[name]?.length, series[name]?.at(-1)]), gaps]);
  if (now === known) return;
  known = now;
  show(Plot, figures, { name: "", series, seconds, gaps });
}

function show(Plot, figures, run) {
  const scrolled = scrollY;
  find("curves-state").hidden = true;
  find("curves-body").hidden = find("curves-acts").hidden = false;
  charts ??= new Charts(find("plots"), find("curves"), Plot);
  charts.show([run]);
  writeSummary(figures, run);
  scrollTo({ top: scrolled, behavior: "instant" });
  // In a frame of its own: a long log has as many steps as lines, and somebody may be scrolling through it.
  const points = figures.filter((name) => run.series[name]?.length).map((name) => [name, run.series[name]]);
  requestAnimationFrame(() => setTimeout(writeSteps, 0, points));
}

// Numbers

function cell(row, text, tag = "td") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (tag === "th") element.scope = "row";
  // The style sheet lays rows out as a grid on a phone, which would end the table for a screen reader.
  element.role = tag === "th" ? "rowheader" : "cell";
  row.append(element);
  return element;
}

function under(text) {
  return Object.assign(document.createElement("span"), { className: "under", textContent: text });
}

// As the head of the table has them, which a narrow phone doesn't show.
const LABELS = ["First", "Lowest", "Highest", "Last"];

function writeSummary(figures, { series, gaps }) {
  const rows = figures.map((name) => {
    const row = Object.assign(document.createElement("tr"), { role: "row" });
    const title = cell(row, nameOf(name), "th");
    if (gaps[name]) title.append(under(gapText(gaps[name])));
    const values = series[name] ?? [];
    const points = values.length ? [values[0], lowest(values), highest(values), values.at(-1)] : Array(4).fill(null);
    for (const [index, point] of points.entries()) {
      const shown = cell(row, point ? number(point[1]) : "–");
      shown.dataset.label = LABELS[index];
      if (point) shown.append(under(`step\u00a0${point[0].toLocaleString()}`));
    }
    return row;
  });
  find("numbers").replaceChildren(...rows);
}

const lowest = (values) => values.reduce((one, other) => (other[1] < one[1] ? other : one));
const highest = (values) => values.reduce((one, other) => (other[1] > one[1] ? other : one));

function writeSteps(points) {
  const head = document.createElement("tr");
  for (const label of ["Step", ...points.map(([name]) => nameOf(name))]) {
    const title = Object.assign(document.createElement("th"), { scope: "col", textContent: label });
    head.append(title);
  }
  find("steps-head").replaceChildren(head);
  const byName = points.map(([, values]) => new Map(values));
  const steps = [...new Set(points.flatMap(([, values]) => values.map(([step]) => step)))].toSorted(
    (one, other) => one - other,
  );
  find("steps").replaceChildren(
    ...thinned(steps).map((step) => {
      const row = document.createElement("tr");
      cell(row, step.toLocaleString(), "th");
      for (const values of byName) cell(row, values.has(step) ? number(values.get(step)) : "–");
      return row;
    }),
  );
}

// Evenly spread, the last one always among them; the newest first.
function thinned(steps) {
  const count = Math.min(MOST_ROWS, steps.length);
  return Array.from(
    { length: count },
    (_, index) => steps[steps.length - 1 - Math.round((index * (steps.length - 1)) / Math.max(1, count - 1))],
  );
}

// Beside the log they are read when it has grown; alone, with each word of the job, and while it runs now and then: nobody
// tells of each line.
if (find("log")) {
  document.addEventListener("log-grown", readSoon);
} else {
  document.addEventListener("job-news", () => hasStarted() && readSoon());
  setInterval(() => hasStarted() && !hasEnded() && !document.hidden && readSoon(), PAUSE_MS);
  if (hasStarted()) readSoon();
}
document.addEventListener("job-state", showWhyEmpty);
showWhyEmpty();
