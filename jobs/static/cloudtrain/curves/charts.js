// Charts of figures: one for each figure, with a line for each run. All have one horizontal axis, zoom and hover.

import { colourOf, onThemeChange } from "../shell/theme.js";
import { elapsed, gapText, inOrder, nameOf, number, secondsAt, smoothed, withGaps } from "./figures.js";
import { listenToKeys, listenToTouch } from "./gestures.js";

const HEIGHT = 206;
const WIDE_HEIGHT = 356;
const FAINT = "55"; // behind a colour: a third of its strength
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
// Round distances between two marks of time.
const TIMES = [1, 2, 5, 10, 15, 30]
  .concat([1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE))
  .concat([1, 2, 4, 6, 12].map((hours) => hours * HOUR))
  .concat([1, 2, 5, 10, 20].map((days) => days * DAY));

/**
 * Charts in `box`, by the settings in `tools`, whose elements have a `data-chart` each: "smoothing" (a range from 0 to
 * 0.99), "smoothing-value", "log" and "time" (check boxes), "no-times" (why that is off), "wide", "in", "out" and "all"
 * (buttons).
 * `Plot` is uPlot's constructor.
 */
export class Charts {
  constructor(box, tools, Plot) {
    this.box = box;
    this.Plot = Plot;
    this.runs = [];
    this.charts = [];
    this.range = null; // [from, to] on the horizontal axis; null: all
    this.isSetting = false;
    this.tools = Object.fromEntries([...tools.querySelectorAll("[data-chart]")].map((one) => [one.dataset.chart, one]));
    this.listen();
  }

  get smoothing() {
    return Number(this.tools.smoothing.value);
  }

  get isLogarithmic() {
    return this.tools.log.checked;
  }

  get isByTime() {
    return this.tools.time.checked;
  }

  get height() {
    return "wide" in this.box.dataset ? WIDE_HEIGHT : HEIGHT;
  }

  listen() {
    const { smoothing, log, time, wide, in: nearer, out, all } = this.tools;
    smoothing.addEventListener("input", () => {
      this.tools["smoothing-value"].textContent = smoothing.value;
      this.update();
    });
    log.addEventListener("change", () => this.draw());
    time.addEventListener("change", () => {
      this.range = null;
      this.draw();
    });
    wide.addEventListener("click", () => {
      const isWide = this.box.toggleAttribute("data-wide");
      wide.setAttribute("aria-pressed", String(isWide));
      this.draw();
    });
    nearer.addEventListener("click", () => this.zoom(0.5));
    out.addEventListener("click", () => this.zoom(2));
    all.addEventListener("click", () => this.setRange(null));
    new ResizeObserver(() => this.fit()).observe(this.box);
    onThemeChange(() => this.draw());
  }

  /** Show `runs`: `{ name, series, seconds, gaps }` each, as the API has them. */
  show(runs) {
    this.runs = runs;
    const hasTimes = runs.some((run) => run.seconds.length);
    this.tools.time.disabled = !hasTimes;
    this.tools["no-times"].hidden = hasTimes;
    if (!hasTimes) this.tools.time.checked = false;
    const figures = inOrder(
      new Set(runs.flatMap((run) => [...Object.keys(run.series), ...Object.keys(run.gaps)])),
    ).filter((name) => runs.some((run) => run.series[name]?.length || run.gaps[name]?.length));
    const isSame = figures.join() === this.charts.map((chart) => chart.figure).join();
    if (isSame && this.charts.length) this.update();
    else this.make(figures);
  }

  make(figures) {
    this.clear();
    this.charts = figures.map((figure) => this.frame(figure));
    this.box.replaceChildren(...this.charts.map((chart) => chart.element));
    this.draw();
  }

  clear() {
    for (const chart of this.charts) chart.plot?.destroy();
    this.charts = [];
  }

  /** A chart without its lines. All frames are made first: how wide each is depends on how many there are. */
  frame(figure) {
    const element = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const readout = Object.assign(document.createElement("span"), { className: "readout figure soft" });
    caption.append(Object.assign(document.createElement("strong"), { textContent: nameOf(figure) }), readout);
    const area = Object.assign(document.createElement("div"), { className: "plot", tabIndex: 0 });
    area.setAttribute("role", "group");
    const note = Object.assign(document.createElement("p"), { className: "chart-note soft" });
    element.append(caption, area, note);
    const chart = { figure, element, area, readout, note, plot: null };
    listenToKeys(area, this, chart);
    return chart;
  }

  /** Draw every chart anew: its axes, its scale or its colours have changed. */
  draw() {
    this.isSetting = true;
    for (const chart of this.charts) {
      const lines = this.linesOf(chart.figure);
      this.describe(chart, lines);
      chart.plot?.destroy();
      chart.area.style.minHeight = `${this.height}px`;
      chart.plot = new this.Plot(this.options(chart, lines), this.dataOf(lines), chart.area);
      listenToTouch(chart.plot, this);
    }
    this.isSetting = false;
    this.applyRange();
  }

  /** Other values on the same axes. */
  update() {
    this.isSetting = true;
    for (const chart of this.charts) {
      const lines = this.linesOf(chart.figure);
      if (chart.plot.series.length !== this.dataOf(lines).length) {
        this.isSetting = false;
        return this.draw();
      }
      this.describe(chart, lines);
      chart.plot.setData(this.dataOf(lines));
    }
    this.isSetting = false;
    this.applyRange();
  }

  /** The runs that have the figure: `{ run, index, xs, ys }`. */
  linesOf(figure) {
    return this.runs
      .map((run, index) => ({ run, index, points: withGaps(run.series[figure] ?? [], run.gaps[figure]) }))
      .filter(({ run, points }) => points.length && (!this.isByTime || run.seconds.length))
      .map(({ run, index, points }) => {
        const steps = points.map(([step]) => step);
        const isDrawn = (value) => value !== null && (!this.isLogarithmic || value > 0);
        return {
          run,
          index,
          xs: this.isByTime ? secondsAt(steps, run.seconds) : steps,
          ys: points.map(([, value]) => (isDrawn(value) ? value : null)),
        };
      });
  }

  /** What the plot draws: of each line its values, and behind smoothed ones the values as they are. */
  dataOf(lines) {
    if (!lines.length) return [[], []];
    const tables = lines.flatMap(({ xs, ys }) =>
      this.smoothing ? [uniqueTable(xs, ys), uniqueTable(xs, smoothed(ys, this.smoothing))] : [uniqueTable(xs, ys)],
    );
    return this.Plot.join(tables);
  }

  describe(chart, lines) {
    const texts = lines.map(({ run, ys }) => {
      const values = ys.filter((value) => value !== null);
      if (!values.length) return "";
      const lowest = values.reduce((one, other) => Math.min(one, other));
      const text = `from ${number(values[0])} to ${number(values.at(-1))}, lowest ${number(lowest)}`;
      return this.runs.length > 1 ? `${run.name}: ${text}` : text;
    });
    chart.area.setAttribute("aria-label", `${nameOf(chart.figure)} ${texts.filter(Boolean).join("; ")}`);
    chart.note.textContent = this.runs
      .map((run) => this.noteOf(run, chart.figure))
      .filter(Boolean)
      .join(" ");
    chart.note.hidden = !chart.note.textContent;
  }

  noteOf(run, figure) {
    const gaps = gapText(run.gaps[figure]);
    const belowZero = (run.series[figure] ?? []).filter(([, value]) => value <= 0).length;
    const lost =
      this.isLogarithmic && belowZero
        ? `${belowZero.toLocaleString()} of the values ${belowZero === 1 ? "is" : "are"} 0 or less and ${belowZero === 1 ? "has" : "have"} no logarithm.`
        : "";
    const text = [gaps, lost].filter(Boolean).join(" ");
    return text && this.runs.length > 1 ? `${run.name}: ${text}` : text;
  }

  colourOf(index) {
    return colourOf(this.box, `--line-${(index % 5) + 1}`);
  }

  options(chart, lines) {
    const axis = {
      stroke: colourOf(this.box, "--ink-soft"),
      grid: { stroke: colourOf(this.box, "--edge"), width: 1 },
      ticks: { stroke: colourOf(this.box, "--edge"), width: 1 },
      font: `12px ${getComputedStyle(this.box).fontFamily}`,
    };
    const across = this.isByTime
      ? { incrs: TIMES, values: (_, ticks) => ticks.map((tick) => (tick < 0 ? "" : elapsed(tick))), space: 70 }
      : { values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString() : "")) };
    return {
      width: Math.max(chart.area.clientWidth, 100),
      height: this.height,
      legend: { show: false },
      scales: { x: { time: false }, y: this.isLogarithmic ? { distr: 3 } : {} },
      axes: [
        { ...axis, size: 32, ...across, label: this.isByTime ? "time" : "step", labelSize: 16, labelFont: axis.font },
        { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))) },
      ],
      cursor: {
        drag: { x: true, y: false },
        points: { size: 6 },
        sync: { key: "charts", scales: ["x", null] },
        dataIdx: (plot, line, index) => nearest(plot.data[line], index),
      },
      series: [{}, ...lines.flatMap((line) => this.strokesOf(line, chart.figure))],
      hooks: {
        setCursor: [(plot) => this.write(chart, plot)],
        setScale: [(plot, key) => key === "x" && this.noteRange(plot)],
      },
    };
  }

  strokesOf({ run, index, ys }, figure) {
    const colour = this.colourOf(index);
    const isSparse = figure === "validation_loss" || ys.length < 3;
    const line = { label: run.name, stroke: colour, width: 1.5, points: { show: isSparse, size: 5 } };
    const faint = { ...line, stroke: colour + FAINT, width: 1, points: { show: false } };
    return this.smoothing ? [faint, line] : [line];
  }

  /** What stands under the pointer, in every chart at the same step or second. */
  write(chart, plot) {
    const at = plot.cursor.left >= 0 && plot.data[0].length ? plot.posToVal(plot.cursor.left, "x") : null;
    if (at === null || at === undefined) {
      chart.readout.textContent = "";
      return;
    }
    const lines = this.linesIn(plot).map((line) => ({ line, index: plot.cursor.idxs?.[line] }));
    const seen = lines.filter(({ line, index }) => index !== null && plot.data[line][index] != null);
    if (!seen.length) {
      chart.readout.textContent = "";
      return;
    }
    const place = plot.data[0][seen[0].index];
    const where = this.isByTime ? elapsed(place) : `step ${place.toLocaleString()}`;
    const values = seen.map(({ line, index }) => {
      const value = number(plot.data[line][index]);
      return this.runs.length > 1 ? `${plot.series[line].label} ${value}` : value;
    });
    chart.readout.textContent = `${where}: ${values.join(", ")}`;
  }

  /** The numbers of the lines that are read: of smoothed ones not those behind them. */
  linesIn(plot) {
    return plot.series.map((_, line) => line).filter((line) => line && (!this.smoothing || line % 2 === 0));
  }

  // Zoom

  extent() {
    const ends = this.charts.flatMap(({ plot }) => (plot.data[0].length ? [plot.data[0][0], plot.data[0].at(-1)] : []));
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : null;
  }

  /** The pointer chose another part of one chart: the others follow it. */
  noteRange(plot) {
    if (this.isSetting) return;
    const { min, max } = plot.scales.x;
    const whole = this.extent();
    if (min === null || min === undefined || !whole) return;
    const own = plot.data[0];
    const isWhole = min <= own[0] && max >= own.at(-1);
    this.setRange(isWhole ? null : [min, max]);
  }

  setRange(range) {
    this.range = range;
    this.applyRange();
  }

  applyRange() {
    const whole = this.extent();
    this.tools.all.hidden = !this.range;
    this.tools.out.disabled = !this.range;
    if (!whole) return;
    const [min, max] = this.range ?? whole;
    this.isSetting = true;
    for (const { plot } of this.charts) plot.setScale("x", { min, max: max > min ? max : min + 1 });
    this.isSetting = false;
  }

  /** Show a part that is `factor` times as wide, around the pointer or the middle. */
  zoom(factor, around = null) {
    const whole = this.extent();
    if (!whole) return;
    const [min, max] = this.range ?? whole;
    const middle = around ?? (min + max) / 2;
    this.setRangeWithin(middle - (middle - min) * factor, middle + (max - middle) * factor);
  }

  /** Move the part that is shown by a share of its width. */
  pan(share) {
    if (!this.range) return;
    const [min, max] = this.range;
    const [first, last] = this.extent();
    const by = Math.min(Math.max((max - min) * share, first - min), last - max);
    this.setRange([min + by, max + by]);
  }

  setRangeWithin(min, max) {
    const [first, last] = this.extent();
    const isWhole = min <= first && max >= last;
    if (!isWhole && max - min < (last - first) / 10_000) return;
    this.setRange(isWhole ? null : [Math.max(min, first), Math.min(max, last)]);
  }

  fit() {
    for (const { area, plot } of this.charts) {
      if (plot && area.clientWidth && area.clientWidth !== plot.width)
        plot.setSize({ width: area.clientWidth, height: this.height });
    }
  }
}

// Two steps may have one second; uPlot takes each place once.
function uniqueTable(xs, ys) {
  const [places, values] = [[], []];
  xs.forEach((place, index) => {
    if (places.length && place <= places.at(-1)) values[values.length - 1] = ys[index];
    else {
      places.push(place);
      values.push(ys[index]);
    }
  });
  return [places, values];
}

// A line has no value at each step of the others.
function nearest(values, index) {
  if (index === null || index === undefined || values[index] != null) return index;
  for (let distance = 1; distance < values.length; distance += 1) {
    if (values[index - distance] != null) return index - distance;
    if (values[index + distance] != null) return index + distance;
  }
  return null;
}

const loading = new Map();

/** Fetch uPlot, which only a page with curves needs, and return its constructor. */
export function loadPlot(script) {
  if (!loading.has(script)) loading.set(script, fetchPlot(script));
  return loading.get(script);
}

function fetchPlot(script) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src: script });
    element.addEventListener("load", () => resolve(uPlot));
    element.addEventListener("error", () => {
      loading.delete(script);
      reject(new Error("The curves can’t be drawn now: the server did not answer."));
    });
    document.head.append(element);
  });
}
