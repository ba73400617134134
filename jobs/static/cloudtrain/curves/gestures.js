// Charts without a mouse: keys to walk along the curves and to zoom, two fingers to zoom, one to look at a value.

const STEPS_OF_A_LEAP = 10;
const PAN = 0.25;

/** Let the focused `area` of a chart be walked along and zoomed by keys. */
export function listenToKeys(area, charts, chart) {
  const acts = {
    ArrowLeft: (event) => (event.shiftKey ? charts.pan(-PAN) : walk(chart.plot, event.ctrlKey ? -STEPS_OF_A_LEAP : -1)),
    ArrowRight: (event) => (event.shiftKey ? charts.pan(PAN) : walk(chart.plot, event.ctrlKey ? STEPS_OF_A_LEAP : 1)),
    Home: () => walk(chart.plot, -Infinity),
    End: () => walk(chart.plot, Infinity),
    "+": () => charts.zoom(0.5, placeOf(chart.plot)),
    "=": () => charts.zoom(0.5, placeOf(chart.plot)),
    "-": () => charts.zoom(2, placeOf(chart.plot)),
    0: () => charts.setRange(null),
    Escape: () => charts.setRange(null),
  };
  area.addEventListener("keydown", (event) => {
    const act = acts[event.key];
    if (!act || !chart.plot) return;
    event.preventDefault();
    act(event);
  });
  area.addEventListener("focus", () => chart.readout.setAttribute("aria-live", "polite"));
  area.addEventListener("blur", () => chart.readout.removeAttribute("aria-live"));
}

const placeOf = (plot) => (plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null);

// From value to value, within the part that is shown.
function walk(plot, by) {
  const places = plot.data[0];
  const { min, max } = plot.scales.x;
  const first = places.findIndex((place) => place >= min);
  const last = places.findLastIndex((place) => place <= max);
  if (first < 0 || last < first) return;
  const before = plot.cursor.left >= 0 ? plot.cursor.idx : null;
  const from = before ?? (by > 0 ? first - 1 : last + 1);
  const next = from + by;
  const index = Math.min(last, Math.max(first, next));
  plot.setCursor({ left: plot.valToPos(places[index], "x"), top: 0 }, true, true);
}

/** Let two fingers on the plot zoom, and one, moved sideways, show the values under it. */
export function listenToTouch(plot, charts) {
  const fingers = new Map();
  let held = []; // what was under the two fingers when the second one came down
  const { over } = plot;
  const at = (event) => event.clientX - over.getBoundingClientRect().left;
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch") return;
    fingers.set(event.pointerId, at(event));
    held = fingers.size === 2 ? [...fingers.values()].map((position) => plot.posToVal(position, "x")) : [];
  });
  over.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, at(event));
    if (fingers.size === 2 && held.length === 2) pinch(charts, over.clientWidth, held, [...fingers.values()]);
    else if (fingers.size === 1) plot.setCursor({ left: at(event), top: 0 }, true, true);
  });
  for (const end of ["pointerup", "pointercancel"])
    over.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      held = [];
    });
}

/**
 * What was under each finger stays under it.
 *
 * @param {any} charts @param {number} width @param {number[]} held @param {number[]} fingers
 */
function pinch(charts, width, [one, other], [left, right]) {
  const perPixel = (other - one) / (right - left);
  if (!Number.isFinite(perPixel) || perPixel <= 0) return;
  const min = one - left * perPixel;
  charts.setRangeWithin(min, min + width * perPixel);
}
