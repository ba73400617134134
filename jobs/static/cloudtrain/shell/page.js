// What every page of somebody who is signed in shares: the stream of events, how things are said, asked and sent.

import { follow } from "./live.js";
import { showTimes } from "./times.js";

const POLL_MS = 30_000;
const TOAST_MS = 6_000;

const { events, newest, reader, csrf, session } = document.body.dataset;
const find = (id) => document.getElementById(id);

// Events. A page that has parts to keep true adds a listener.

const listeners = new Set();
let polling = 0;
let connection = null;

/**
 * Have `listener.event(data)` called for each event of the stream, and `listener.refresh()` when anything may have been
 * missed: after a gap, after signing in again, and every 30 seconds while the stream is down.
 */
export function onEvent(listener) {
  listeners.add(listener);
}

const refreshAll = () => listeners.forEach((listener) => listener.refresh?.());
const isSignedOut = () => !find("signed-out").hidden;

function up() {
  clearInterval(polling);
  // Signed in again, in another tab.
  if (isSignedOut()) refreshAll();
  find("signed-out").hidden = true;
  find("stream-down").hidden = true;
  showPulse("up", "Live");
}

function down(text) {
  clearInterval(polling);
  showPulse("down", "Not live");
  if (isSignedOut()) return connection.rest();
  polling = setInterval(poll, POLL_MS);
  find("stream-refusal").textContent = text;
  find("stream-refusal").hidden = !text;
  find("stream-down").hidden = false;
  poll();
}

// The session first: a refused stream doesn't say why.
async function poll() {
  const answer = await fetchText(session).catch(() => "");
  if (answer !== null) refreshAll();
}

function showPulse(state, text) {
  const pulse = find("pulse");
  pulse.dataset.state = state;
  pulse.textContent = text;
}

/**
 * Say that the session has ended, or is somebody else's by now: what stands on the page stays, and nothing more is asked
 * for until the reader of this page is back.
 */
export function signedOut() {
  if (isSignedOut()) return;
  find("signed-out").hidden = false;
  find("stream-down").hidden = true;
  clearInterval(polling);
  connection?.check();
}

// Back from signing in elsewhere, perhaps.
function checkSession() {
  if (isSignedOut() && !document.hidden) connection?.check();
}

// Saying.

/** Show an error until it is dismissed. */
export function showProblem(text) {
  find("problem-text").textContent = text;
  find("problem").hidden = false;
}

/** Take back an error that is over, if it is the one that is shown. */
export function withdrawProblem(text) {
  if (find("problem-text").textContent === text) find("problem").hidden = true;
}

/** Show good news for a moment; screen readers hear it. */
export function toast(text) {
  const shown = document.createElement("p");
  shown.className = "toast";
  shown.textContent = text;
  find("toasts").append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

// Sending.

// The cookie is newer than the page when somebody signed in again in another tab.
const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]+)`)?.[1];
// Over HTTPS it has the prefix, and one without may be left from before.
const token = () => cookie("__Host-csrftoken") ?? cookie("csrftoken") ?? csrf;

/** The header of every request: the server answers 401 when the browser is somebody else's by now. */
export const readerHeaders = () => ({ "X-Reader": reader });

/** The headers of a request that changes something. */
export const changeHeaders = () => ({ ...readerHeaders(), "X-CSRFToken": token() });

/** What the API refused: `message` is its own sentence, `errors` its words by field, `status` the number. */
export class Refusal extends Error {
  constructor(status, answer) {
    super(answer?.detail ?? "The server could not answer. Try again in a moment.");
    this.status = status;
    this.errors = answer?.errors ?? {};
    this.correlationId = answer?.correlation_id ?? null;
  }
}

/**
 * Call the API and return its answer; `body` is a value, or JSON as it is written. Throws a Refusal for anything but success, with a readable sentence when the server
 * can't be reached; shows by itself that the session has ended.
 */
export async function call(method, address, body, headers = {}, read = JSON.parse) {
  let response;
  try {
    response = await fetch(address, {
      method,
      credentials: "same-origin",
      headers: {
        Accept: "application/json",
        "Content-Type": "application/json",
        ...(method === "GET" ? readerHeaders() : changeHeaders()),
        ...headers,
      },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, { detail: "The server can’t be reached. Nothing was changed. Try again in a moment." });
  }
  if (response.status === 401) signedOut();
  const answer = await response
    .text()
    .then(read)
    .catch(() => null);
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

/** Do `act` with `control` switched off, which takes the keyboard from it: afterwards it has it again. */
export async function switchedOff(control, act) {
  const held = document.activeElement;
  control.disabled = true;
  try {
    return await act();
  } finally {
    control.disabled = false;
    if (document.activeElement === document.body && control.contains(held)) held.focus({ preventScroll: true });
  }
}

/** The text of a page or a part of one; null when the session has ended. */
export async function fetchText(address) {
  const response = await fetch(address, {
    headers: { Accept: "text/html", ...readerHeaders() },
    credentials: "same-origin",
  });
  if (response.status === 401) {
    signedOut();
    return null;
  }
  if (!response.ok) throw new Error(String(response.status));
  return response.text();
}

// Asking.

/**
 * Ask before something is done. `reason`: undefined (no field), or the field's label; it then must be filled in, unless
 * `isReasonOptional`. `number`: undefined, or `{ label, help, value, min, max, step, isOptional }` of a number; the least is
 * 0 and the step 1 unless said otherwise. Resolves to null when the answer is no, else to `{ reason, number }`.
 *
 * @param {{
 *   title: string, name?: string, text: string, yes: string, no?: string, reason?: string, isReasonOptional?: boolean,
 *   number?: { label: string, help?: string, value?: any, min?: any, max?: any, step?: any, isOptional?: boolean },
 *   isDangerous?: boolean,
 * }} question
 * @returns {Promise<any>}
 */
export function ask({
  title,
  name = "",
  text,
  yes,
  no = "Keep it",
  reason,
  isReasonOptional = false,
  number,
  isDangerous = true,
}) {
  const question = find("question");
  const field = find("question-reason");
  const figure = find("question-number");
  find("question-title").textContent = title;
  find("question-name").textContent = name;
  find("question-text").textContent = text;
  find("question-no").textContent = no;
  find("question-yes").textContent = yes;
  find("question-yes").className = `button ${isDangerous ? "button-danger" : "button-main"}`;
  find("question-field").hidden = reason === undefined;
  find("question-label").textContent = reason ?? "";
  field.required = reason !== undefined && !isReasonOptional;
  field.value = "";
  find("question-number-field").hidden = number === undefined;
  find("question-number-label").textContent = number?.label ?? "";
  find("question-number-help").textContent = number?.help ?? "";
  figure.required = number !== undefined && !number.isOptional;
  figure.min = number?.min ?? 0;
  figure.step = number?.step ?? 1;
  figure.inputMode = number?.step < 1 ? "decimal" : "numeric";
  figure.max = number?.max ?? "";
  figure.value = number?.value ?? "";
  question.returnValue = "";
  question.showModal();
  if (number !== undefined) figure.select();
  return new Promise((resolve) => {
    const answer = () => ({ reason: field.value.trim(), number: figure.valueAsNumber });
    question.addEventListener("close", () => resolve(question.returnValue === "yes" ? answer() : null), { once: true });
  });
}

function start() {
  find("problem-close").addEventListener("click", () => {
    find("problem").hidden = true;
  });
  // Of itself, it would press the first button, which is "no".
  find("question-number").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    find("question-yes").click();
  });
  addEventListener("focus", checkSession);
  document.addEventListener("visibilitychange", checkSession);
  showTimes(document);
  setInterval(() => showTimes(document), 1000);
  // A finger can't point at a time for its title.
  document.addEventListener("click", ({ target }) => {
    const time = target.closest("time[title]");
    if (time && !target.closest("a, button, label, summary")) toast(time.title);
  });
  connection = follow(events, newest, reader, {
    event: (data) => listeners.forEach((listener) => listener.event?.(data)),
    reset: refreshAll,
    up,
    down,
  });
}

// A page without the bar, such as the login, follows nothing.
if (events) queueMicrotask(start);
