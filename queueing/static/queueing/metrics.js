// The chart of the metrics: it draws the numbers of the table beside it.

import { colourOf, onThemeChange } from "../cloudtrain/shell/theme.js";

const HEIGHT = 220;
const SOON = 150;

const shown = new Map(); // element -> plot
const token = (name) => colourOf(document.body, name);
const seconds = (day) => Date.parse(day) / 1000;

// Oldest first; the table has the newest on top.
const rowsOf = (element) => [...document.getElementById(element.dataset.table).tBodies[0].rows].reverse();

function numbers(rows) {
  return [
    rows.map((row) => seconds(row.dataset.at)),
    rows.map((row) => (row.dataset.value === "" ? null : Number(row.dataset.value))),
  ];
}

// The chart shows days and waits in the words of the table.
const dayOf = (rows, at) => rows.find((row) => seconds(row.dataset.at) === at)?.dataset.label ?? "";
const waitOf = (row) => row.cells[2].textContent.trim();

// The axis counts minutes, and shows whole hours as hours.
const inWords = (minutes) => (minutes >= 60 && minutes % 60 === 0 ? `${minutes / 60} h` : `${minutes} min`);

function draw(element) {
  shown.get(element)?.destroy();
  const rows = rowsOf(element);
  shown.set(element, new uPlot(options(element, rows), numbers(rows), element));
}

function options(element, rows) {
  const readout = element.closest(".chart-card").querySelector(".readout");
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = {
    stroke: token("--ink-soft"),
    font,
    grid: { stroke: token("--edge"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: width(element),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: true } },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    scales: {
      x: { range: (_, from, to) => [from - 43_200, to + 43_200] },
      y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      {
        ...axis,
        size: 32,
        grid: { show: false },
        values: (_, days) => days.map((at) => dayOf(rows, at)),
        space: 64,
        incrs: [1, 2, 7, 14, 30].map((days) => days * 86_400),
      },
      {
        ...axis,
        size: 60,
        values: (_, values) => values.map(inWords),
        incrs: [1, 2, 5, 10, 20, 30, 60, 120, 240, 480, 1440, 2880, 7200, 14_400],
      },
    ],
    series: [{}, line()],
    hooks: {
      setCursor: [
        ({ cursor: { idx: at } }) => {
          const row = rows[at ?? -1];
          readout.textContent = row ? `${row.dataset.label}: ${waitOf(row)}` : "";
        },
      ],
    },
  };
}

function line() {
  const colour = token("--accent");
  return {
    stroke: colour,
    fill: token("--hint"),
    width: 2,
    paths: uPlot.paths.linear(),
    spanGaps: false, // on such a day nothing started
    points: { show: true, size: 5, fill: colour },
  };
}

function width(element) {
  const { paddingLeft, paddingRight } = getComputedStyle(element);
  return Math.max(200, element.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
}

const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(
    () => shown.forEach((plot, element) => plot.setSize({ width: width(element), height: HEIGHT })),
    SOON,
  );
});
onThemeChange(drawAll);
document.addEventListener("htmx:finally:request", (event) => event.target.id === "metrics" && drawAll());
drawAll();
