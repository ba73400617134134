// Times in the reader's zone; the exact one is the title.

// Of all pages, which are in English: the server writes "6 Oct 2026, 14:05", too.
export const LOCALE = "en-GB";
const DAYS = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });
let exact;
let brief;
let day;
// The admin's body is Django's own.
const named = /** @type {HTMLMetaElement | null} */ (document.querySelector('meta[name="time-zone"]'));
useZone(document.body.dataset.zone ?? named?.content);
/** @type {[string, number][]} */
const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** Write times in the zone of that name from now on; in the browser's without one, or with one that it doesn't know. */
export function useZone(name) {
  const format = (options) => new Intl.DateTimeFormat(LOCALE, { ...options, timeZone: knownZone(name) });
  exact = format({ dateStyle: "full", timeStyle: "long" });
  brief = format({ dateStyle: "medium", timeStyle: "short" });
  day = format({ day: "numeric", month: "short", year: "numeric" });
  for (const shown of document.querySelectorAll("time[title]")) shown.removeAttribute("title");
}

/** `name` when the browser knows it as a time zone, else undefined. */
export function knownZone(name) {
  try {
    return name ? new Intl.DateTimeFormat(undefined, { timeZone: name }).resolvedOptions().timeZone : undefined;
  } catch {
    return undefined;
  }
}

function ago(date, now) {
  const seconds = (now - date) / 1000;
  if (seconds > 30 * 86400) return day.format(date);
  const distance = Math.abs(seconds);
  if (distance < 60) return "just now"; // the reader's clock may be a little behind ours
  const [unit, length] = UNITS.find(([, one]) => distance >= one);
  // What runs out in a day, less the second that the page took, does not in 23 hours.
  const count = seconds < 0 ? Math.round(distance / length) : Math.floor(distance / length);
  if (unit === "d") return DAYS.format(seconds < 0 ? count : -count, "day");
  return seconds < 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
}

// As jobs/dashboard/rows.py writes it.
/** The two largest units that matter of so many seconds. */
export function duration(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  /** @type {[number, string][]} */
  const counts = UNITS.map(([unit, length]) => {
    const count = Math.floor(rest / length);
    rest -= count * length;
    return [count, unit];
  });
  const first = counts.findIndex(([count]) => count > 0);
  const from = first < 0 ? counts.length - 1 : first;
  const [larger, ...smaller] = counts.slice(from, from + 2);
  return [larger, ...smaller.filter(([count]) => count > 0)].map((part) => part.join(" ")).join(" ");
}

// Each row says from how many seconds on an estimate is rounded to which unit, like cloudtrain_site/wording/values.py.
const ROUNDING = [
  [86_400, 3_600],
  [14_400, 1_800],
  [3_600, 600],
  [600, 300],
  [60, 60],
  [0, 10],
];

/** An estimate at the precision that it has. */
export function roughDuration(seconds) {
  const [, unit] = ROUNDING.find(([start]) => seconds >= start) ?? ROUNDING[ROUNDING.length - 1];
  return duration(Math.max(1, Math.round(seconds / unit)) * unit);
}

// The same as URGENT_WITHIN in approvals/queries.py.
const URGENT_MS = 3_600_000;

// The same as LATE_SECONDS in jobs/dashboard/job_detail.py.
const LATE_MS = 60_000;

function left(date, now) {
  return date > now ? `${duration((date - now) / 1000)} left` : "expired";
}

function textOf({ dataset }, date, now) {
  if ("left" in dataset) return left(date, now);
  if ("until" in dataset && date > now) return `in ${duration((date - now) / 1000)}`;
  if ("expected" in dataset && date - now < -LATE_MS) return "past its estimate";
  if ("expected" in dataset && date - now < 60_000) return "soon";
  return "exact" in dataset ? brief.format(date) : ago(date, now);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Write every time and every running duration below `root` as it is now. */
export function showTimes(root) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const date = new Date(element.dateTime);
    // What the server calls Sep.
    write(element, textOf(element, date, now).replace("Sept ", "Sep "));
    element.title ||= exact.format(date);
    if ("left" in element.dataset) element.classList.toggle("is-urgent", date.getTime() - now <= URGENT_MS);
  }
  for (const element of root.querySelectorAll("[data-running-since]")) {
    write(element, duration((now - Date.parse(element.dataset.runningSince)) / 1000));
  }
}
