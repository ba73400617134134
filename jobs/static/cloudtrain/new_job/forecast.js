// What a dry run says that a job would come to.

import { roughDuration } from "../shell/times.js";
import { showChanges } from "./run_again.js";

const find = (id) => document.getElementById(id);
const forecast = find("forecast");

/** Show that what stands there is of an older state of the form. */
export function showOld() {
  forecast.dataset.old = "";
}

/** Show the answer of a dry run, or, when that is null, why there is none. */
export function showForecast(answer, text = "") {
  delete forecast.dataset.old;
  showChanges(answer?.changes);
  show("forecast-text", text);
  find("forecast-facts").hidden = !answer;
  show("forecast-hold", answer?.requires_approval ? hold(answer) : "");
  showBudget(answer?.budget);
  const beside = new Set(answer?.config_warnings.map((one) => one.text));
  const warnings = (answer?.warnings ?? []).filter((one) => !beside.has(one));
  find("forecast-warnings").replaceChildren(
    ...warnings.map((one) => Object.assign(document.createElement("li"), { textContent: one })),
  );
  if (!answer) return;
  const doubt = answer.estimate_doubt ? `: ${answer.estimate_doubt}` : "";
  find("forecast-cost").textContent = rangeText(answer.estimated_cost_range, dollars) + doubt;
  find("forecast-time").textContent = rangeText(answer.estimated_seconds_range, roughDuration);
  find("forecast-source").textContent = answer.estimate_source ?? "nothing yet";
  find("forecast-start").textContent = start(answer);
}

function show(id, text) {
  find(id).textContent = text;
  find(id).hidden = !text;
}

function hold(answer) {
  const needs = answer.rules.map(
    ({ name: rule, approvals_needed: count, decided_by: people }) =>
      `${count} approval${count === 1 ? "" : "s"} by ${people} (rule “${rule}”)`,
  );
  return `Needs ${needs.join(", and ")}. ${answer.reason ?? ""}`;
}

/** What the strictest budget leaves for it: a warning where too little is left. */
function showBudget(budget) {
  show("forecast-budget", budget ? `${budget.would_wait ? "The job would wait. " : ""}${budget.sentence}` : "");
  find("forecast-budget").className = budget?.would_wait ? "notice notice-warn" : "under";
}

/** An amount of US dollars. */
export const dollars = (amount) =>
  amount > 0 && amount < 0.01 ? "<$0.01" : amount.toLocaleString("en-US", { style: "currency", currency: "USD" });

function rangeText(range, format) {
  if (range === null) return "not known";
  const [low, high] = [format(range.low), format(range.high)];
  if (range.high === 0) return high; // of own hardware
  return low === high ? `about ${high}` : `${low} to ${high}`;
}

function start({
  requires_approval: isHeld,
  queue_position: position,
  estimated_wait_seconds: wait,
  waiting_reason: reason,
  budget,
}) {
  if (isHeld) return "when it is approved";
  if (budget?.would_wait) return "when the budget has room for it";
  const queue = position > 1 ? `Place ${position} in line. ` : "";
  if (wait === null) return `${queue}${reason}`;
  return wait < 1 ? `at once. ${queue}` : `in about ${roughDuration(wait)}. ${queue}${reason}`;
}
