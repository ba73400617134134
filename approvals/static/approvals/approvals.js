// Deciding in place. What the page shows, the server renders (sections.js).

import { ask, call, showProblem, switchedOff, toast } from "../cloudtrain/shell/page.js";
import { refresh } from "../cloudtrain/shell/sections.js";

const approvals = document.getElementById("approvals");
const spoken = document.getElementById("spoken");
const PAST = "You are no reviewer of it: as a superuser you decide past the reviewers, which is put on record.";

const ENDS = "is cancelled when it reaches its limit.";

const QUESTIONS = {
  approve: ({ name, goesPast, proposed, raise }) => ({
    title: raise === undefined ? "Approve this job?" : "Let this job cost more?",
    name,
    text: `${raise === undefined ? "goes into the queue." : "goes on."} ${goesPast === undefined ? "" : PAST}`,
    number: {
      label: "Up to, in US dollars",
      help:
        raise === undefined
          ? "It is cancelled before it costs more. Left empty, nothing of yours limits it."
          : "Left empty, it may cost what is asked for.",
      value: proposed,
      min: 0.01,
      max: 99_999_999,
      step: 0.01,
      isOptional: true,
    },
    reason: goesPast === undefined ? "Reason (the requester reads it; may be left out)" : "Reason",
    isReasonOptional: goesPast === undefined,
    yes: "Approve",
    no: "Not now",
    isDangerous: false,
  }),
  reject: ({ name, goesPast, raise }) => ({
    title: raise === undefined ? "Reject this job?" : "Refuse it more?",
    name,
    text: `${raise === undefined ? "is cancelled and will not run." : ENDS} ${goesPast === undefined ? "" : PAST}`,
    reason: "Reason (the requester reads it)",
    yes: "Reject",
    no: "Not now",
  }),
  cancel: ({ name, raise }) => ({
    title: "Take the request back?",
    name,
    text: raise === undefined ? "is cancelled and will not run." : ENDS,
    yes: "Take it back",
    no: "Leave it",
  }),
};
const DONE = {
  approved: "is approved and takes its turn",
  rejected: "is rejected",
  cancelled: "is taken back",
  pending: "needs further approvals; yours counts",
};

const DONE_WITH_RAISE = {
  ...DONE,
  approved: "may cost that much",
  rejected: "gets no more",
};

// What the API answered when somebody else was faster, by request; it stays beside the request wherever that goes.
const answers = new Map();

function showAnswers() {
  for (const [id, text] of answers) {
    const element = approvals.querySelector(`[data-request="${id}"] .answer`);
    if (!element) {
      answers.delete(id);
      showProblem(text);
    } else if (element.textContent !== text) {
      element.textContent = text;
      element.hidden = false;
    }
  }
}

// A request that is decided goes from under the keyboard: the one that was beside it takes its place.
let beside = null;

function stay() {
  if (beside && document.activeElement === document.body) {
    const element = beside.isConnected ? beside : document.getElementById("main");
    element.focus({ preventScroll: true });
  }
  beside = null;
}

function bodyOf(act, { reason, number }) {
  return act === "approve" && number > 0 ? { reason, up_to_usd: number } : { reason };
}

approvals.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button || button.disabled) return;
  const item = button.closest("[data-request]");
  const { request, name, raise } = item.dataset;
  const answer = await ask(QUESTIONS[button.dataset.act](item.dataset));
  if (!answer) return;
  const address = `/api/approvals/${encodeURIComponent(request)}/${button.dataset.act}`;
  try {
    const { status } = await switchedOff(button, () => call("POST", address, bodyOf(button.dataset.act, answer)));
    toast(`${name} ${(raise === undefined ? DONE : DONE_WITH_RAISE)[status] ?? status}.`);
  } catch (refusal) {
    if (refusal.status === 409) answers.set(request, refusal.message);
    else if (refusal.status !== 401) showProblem(refusal.message);
  }
  beside = item.nextElementSibling ?? item.previousElementSibling ?? item;
  refresh(approvals);
});

// The request that the address names, such as #request-7: shown, and under the keyboard. It may be further down than the
// page goes, which is then asked for it by its number; so is every later look, lest it be pushed off.

const base = approvals.getAttribute("hx-get");
let sought = null;

function seek() {
  sought = location.hash.match(/^#request-(\d+)$/)?.[1] ?? null;
  if (!sought) return;
  approvals.setAttribute("hx-get", `${base}?request=${sought}`);
  if (!arrive()) refresh(approvals);
}

function arrive() {
  const element = document.getElementById(`request-${sought}`);
  if (!element) return false;
  sought = null;
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "center" });
  return true;
}

addEventListener("hashchange", seek);
seek();

const pending = () => approvals.querySelectorAll(".request").length;
let announced = pending();

document.addEventListener("htmx:finally:request", (event) => {
  if (event.target !== approvals) return;
  if (sought) arrive();
  showAnswers();
  stay();
  if (pending() === announced) return;
  announced = pending();
  spoken.textContent = `${announced} pending`;
});
