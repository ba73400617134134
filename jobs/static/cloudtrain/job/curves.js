// Loss and learning rate over the steps: as curves, and as numbers for everybody.

import { call } from "../shell/page.js";

const PAUSE_MS = 10_000;
// Long logs have many figures: the longer it takes to read them, the less often.
const REST = 20;
const HEIGHT = 180;
const MOST_ROWS = 60;
const NAMES = { loss: "Loss", validation_loss: "Validation loss", learning_rate: "Learning rate" };
// Which figures share a plot, with the tokens of their colours.
const PLOTS = [
  [
    "Loss",
    [
      ["loss", "--accent"],
      ["validation_loss", "--good-ink"],
    ],
  ],
  ["Learning rate", [["learning_rate", "--accent"]]],
];

const NONE = "It reported no loss and no learning rate.";

const find = (id) => document.getElementById(id);
const hasEnded = () => "ended" in find("job-card").dataset;
const { address, script, style } = find("curves").dataset;
const shown = []; // { element, plot }
let series = {};
let isEmpty = false;
let known = "";
let readAt = 0;
let pause = PAUSE_MS;
let timer = 0;

/** Look at the figures again, as soon as the last look is long enough ago. */
export function readCurvesSoon() {
  timer ||= setTimeout(read, Math.max(0, readAt + pause - Date.now()));
}

/** There is no log to have figures in. */
export function showNoCurves(text) {
  if (!known) find("curves-state").textContent = text;
}

/** The job has ended: a log that told no figures so far tells none. */
export function endCurves() {
  if (isEmpty && hasEnded()) showNoCurves(NONE);
}

async function read() {
  timer = 0;
  const began = Date.now();
  try {
    [{ series }] = await Promise.all([call("GET", address), library()]);
  } catch (refusal) {
    showNoCurves(refusal.message);
    return;
  } finally {
    readAt = Date.now();
    pause = Math.max(PAUSE_MS, REST * (readAt - began));
  }
  const points = present();
  isEmpty = !points.length;
  if (isEmpty) return showNoCurves(hasEnded() ? NONE : "The log tells no loss and no learning rate so far.");
  const now = JSON.stringify(points.map(([name, values]) => [name, values.length, values.at(-1)]));
  if (now === known) return;
  known = now;
  find("curves-state").hidden = true;
  find("curves-body").hidden = false;
  draw();
  writeSummary(points);
  // In a frame of its own: a long log has as many steps as lines, and somebody may be scrolling through it.
  requestAnimationFrame(() => setTimeout(writeSteps, 0, points));
}

let loading = null;

// Only a page with curves needs it, and not before its log is there.
function library() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: style }));
    const element = Object.assign(document.createElement("script"), { src: script });
    element.addEventListener("load", resolve);
    element.addEventListener("error", () => {
      loading = null;
      reject(new Error("The curves can’t be drawn now: the server did not answer."));
    });
    document.head.append(element);
  });
  return loading;
}

const present = () =>
  Object.keys(NAMES)
    .map((name) => [name, series[name] ?? []])
    .filter(([, values]) => values.length);

/** As few digits as tell it apart, as people write it: 0.0823, 1e-4, 3,120. */
function figure(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 0.001 || size >= 1e6)
    return value
      .toExponential(2)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e");
  return value.toLocaleString(undefined, { maximumSignificantDigits: 4 });
}

// Curves

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw() {
  const scrolled = scrollY;
  for (const { plot } of shown) plot.destroy();
  shown.length = 0;
  find("plots").replaceChildren();
  const there = PLOTS.map(([title, lines]) => [title, lines.filter(([name]) => series[name]?.length)]);
  // All frames first: how wide each is depends on how many there are.
  const frames = there.filter(([, lines]) => lines.length).map(([title, lines]) => makeFrame(title, lines));
  for (const { element, lines, readout } of frames) drawPlot(element, lines, readout);
  scrollTo({ top: scrolled, behavior: "instant" });
}

function makeFrame(title, lines) {
  const frame = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const readout = document.createElement("span");
  readout.className = "readout figure soft";
  caption.append(...captionOf(title, lines), readout);
  const element = document.createElement("div");
  element.className = "plot";
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", describe(lines));
  frame.append(caption, element);
  find("plots").append(frame);
  return { element, lines, readout };
}

function drawPlot(element, lines, readout) {
  const data = uPlot.join(
    lines.map(([name]) => [series[name].map(([step]) => step), series[name].map(([, value]) => value)]),
  );
  const plot = new uPlot(options(element.clientWidth, lines, readout), data, element);
  shown.push({ element, plot });
}

function captionOf(title, lines) {
  if (lines.length === 1) return [Object.assign(document.createElement("strong"), { textContent: title })];
  return lines.map(([name, colour]) => {
    const key = Object.assign(document.createElement("strong"), { className: "key", textContent: NAMES[name] });
    key.style.setProperty("--key", `var(${colour})`);
    return key;
  });
}

function describe(lines) {
  return lines
    .map(([name]) => {
      const [first, last] = [series[name][0], series[name].at(-1)];
      return `${NAMES[name]} from ${figure(first[1])} at step ${first[0]} to ${figure(last[1])} at step ${last[0]}`;
    })
    .join("; ");
}

function options(width, lines, readout) {
  const axis = {
    stroke: token("--ink-soft"),
    grid: { stroke: token("--edge"), width: 1 },
    ticks: { stroke: token("--edge"), width: 1 },
    font: `12px ${token("--font")}`,
  };
  return {
    width: Math.max(width, 100),
    height: HEIGHT,
    legend: { show: false },
    scales: { x: { time: false } },
    axes: [
      {
        ...axis,
        size: 32,
        values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString() : "")),
      },
      { ...axis, size: 62, values: (_, ticks) => ticks.map(figure) },
    ],
    cursor: { drag: { x: true, y: false }, points: { size: 6 } },
    series: [
      {},
      ...lines.map(([name, colour]) => ({
        label: NAMES[name],
        stroke: token(colour),
        width: 1.5,
        spanGaps: true,
        points: { show: name === "validation_loss" || series[name].length < 3, size: 5 },
      })),
    ],
    hooks: { setCursor: [(plot) => write(readout, plot, lines)] },
  };
}

function write(readout, plot, lines) {
  const { idx } = plot.cursor;
  const values = idx == null ? [] : lines.map((_, index) => plot.data[index + 1][idx]).filter((value) => value != null);
  readout.textContent = values.length
    ? `step ${plot.data[0][idx].toLocaleString()}: ${values.map(figure).join(", ")}`
    : "";
}

// Numbers

function cell(row, text, tag = "td") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (tag === "th") element.scope = "row";
  row.append(element);
}

function writeSummary(points) {
  const rows = points.map(([name, values]) => {
    const row = document.createElement("tr");
    const lowest = values.reduce((one, other) => (other[1] < one[1] ? other : one));
    const highest = values.reduce((one, other) => (other[1] < one[1] ? one : other));
    cell(row, NAMES[name], "th");
    for (const [step, value] of [values[0], lowest, highest, values.at(-1)]) {
      cell(row, figure(value));
      const at = Object.assign(document.createElement("span"), {
        className: "under",
        textContent: `step ${step.toLocaleString()}`,
      });
      row.lastElementChild.append(at);
    }
    return row;
  });
  find("numbers").replaceChildren(...rows);
}

function writeSteps(points) {
  const head = document.createElement("tr");
  for (const label of ["Step", ...points.map(([name]) => NAMES[name])]) {
    const title = Object.assign(document.createElement("th"), { scope: "col", textContent: label });
    head.append(title);
  }
  find("steps-head").replaceChildren(head);
  const byName = points.map(([, values]) => new Map(values));
  const steps = [...new Set(points.flatMap(([, values]) => values.map(([step]) => step)))].sort(
    (one, other) => one - other,
  );
  find("steps").replaceChildren(
    ...thinned(steps).map((step) => {
      const row = document.createElement("tr");
      cell(row, step.toLocaleString(), "th");
      for (const values of byName) cell(row, values.has(step) ? figure(values.get(step)) : "–");
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

new ResizeObserver(() => {
  for (const { element, plot } of shown) {
    if (element.clientWidth && element.clientWidth !== plot.width)
      plot.setSize({ width: element.clientWidth, height: HEIGHT });
  }
}).observe(find("plots"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => known && draw());
