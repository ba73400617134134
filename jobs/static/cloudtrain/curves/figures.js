// The figures of trainings, as people read them: names, numbers, smoothed values, times.

const NAMES = {
  loss: "Loss",
  validation_loss: "Validation loss",
  learning_rate: "Learning rate",
  grad_norm: "Gradient norm",
  images_per_second: "Images a second",
  steps_per_second: "Steps a second",
  vram: "Video memory, GB",
};

export const nameOf = (figure) => NAMES[figure] ?? figure;

/** Names of figures in the order in which they are shown: the well-known ones first. */
export function inOrder(figures) {
  const rank = (name) => Object.keys(NAMES).indexOf(name) + 1 || Infinity;
  return [...figures].toSorted((one, other) => Math.sign(rank(one) - rank(other)) || one.localeCompare(other));
}

/** As few digits as tell it apart, as people write it: 0.0823, 1e-4, 3,120. */
export function number(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 0.001 || size >= 1e6)
    return value
      .toExponential(2)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e");
  return value.toLocaleString(undefined, { maximumSignificantDigits: 4 });
}

/** Seconds since the beginning as 12 s, 3:20 min or 1:05 h; in days from two of them on. */
export function elapsed(seconds) {
  const whole = Math.round(seconds);
  const padded = (part) => String(part).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${padded(whole % 60)} min`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)}:${padded(Math.floor((whole % 3600) / 60))} h`;
  return `${(whole / 86_400).toLocaleString(undefined, { maximumFractionDigits: 1 })} d`;
}

/**
 * A moving average of `values`, in which each older value weighs `weight` times the next one. What lies before the
 * first value does not pull it towards zero.
 */
export function smoothed(values, weight) {
  if (!weight) return values;
  let [sum, weights] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value;
    weights = weights * weight + 1;
    return sum / weights;
  });
}

/** The second of each of `steps`, from pairs of step and second; between two of these in proportion. */
export function secondsAt(steps, seconds) {
  let next = 0;
  return steps.map((step) => {
    while (next < seconds.length && seconds[next][0] < step) next += 1;
    const after = seconds[Math.min(next, seconds.length - 1)];
    const before = seconds[Math.max(0, next - 1)];
    if (after[0] <= before[0] || step >= after[0]) return after[1];
    if (step <= before[0]) return before[1];
    return before[1] + ((step - before[0]) / (after[0] - before[0])) * (after[1] - before[1]);
  });
}

/** Points with an empty one at both ends of each gap, so that no line is drawn over it. */
export function withGaps(points, gaps = []) {
  if (!gaps.length) return points;
  const ends = gaps.flatMap(([first, last]) =>
    first === last
      ? [[first, null]]
      : [
          [first, null],
          [last, null],
        ],
  );
  return [...points, ...ends].toSorted(([one], [other]) => one - other);
}

/** The gaps of a figure in a sentence. */
export function gapText(gaps = []) {
  if (!gaps.length) return "";
  const steps = gaps.map(([first, last]) =>
    first === last ? first.toLocaleString() : `${first.toLocaleString()}–${last.toLocaleString()}`,
  );
  const more = steps.length > 5 ? ` and ${steps.length - 5} more times` : "";
  return `NaN or infinite at ${gaps.length === 1 && gaps[0][0] === gaps[0][1] ? "step" : "steps"} ${steps.slice(0, 5).join(", ")}${more}.`;
}
