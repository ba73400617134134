// The buttons of an approval request, on the approvals page and on a job's page: each asks, calls the API, and reports
// the outcome.

import { ask, call, switchedOff, toast } from "../cloudtrain/shell/page.js";

const PAST = "You aren’t a reviewer of this request. As a superuser you can decide anyway; it is recorded.";
const ENDS = "is cancelled when it reaches its limit.";
const OPTIONAL = "Reason (optional, the requester reads it)";

const QUESTIONS = {
  approve: ({ name, goesPast, proposed, raise }) => ({
    title: raise === undefined ? "Approve this job?" : "Let this job cost more?",
    name,
    text: `${raise === undefined ? "goes into the queue." : "continues."} ${goesPast === undefined ? "" : PAST}`,
    number: {
      label: "Up to, in US dollars",
      help:
        raise === undefined
          ? "The job is cancelled before it costs more. Leave empty to set no limit."
          : "Leave empty to approve the requested amount.",
      value: proposed,
      min: 0.01,
      max: 99_999_999,
      step: 0.01,
      isOptional: true,
    },
    reason: goesPast === undefined ? OPTIONAL : "Reason",
    isReasonOptional: goesPast === undefined,
    yes: "Approve",
    no: "Cancel",
    isDangerous: false,
  }),
  reject: ({ name, goesPast, raise }) => ({
    title: raise === undefined ? "Reject this job?" : "Refuse the higher cost?",
    name,
    text: `${raise === undefined ? "is cancelled and will not run." : ENDS} ${goesPast === undefined ? "" : PAST}`,
    reason: "Reason (the requester reads it)",
    yes: "Reject",
    no: "Cancel",
  }),
  cancel: ({ name, raise }) => ({
    title: "Withdraw the request?",
    name,
    text: raise === undefined ? "is cancelled and will not run." : ENDS,
    yes: "Withdraw request",
    no: "Cancel",
  }),
  comment: ({ name }) => ({
    title: "Comment on this request",
    name,
    text: "stays as it is. The requester and the reviewers see the comment.",
    reason: "Comment",
    yes: "Add comment",
    no: "Cancel",
    isDangerous: false,
  }),
};

const DONE = {
  approved: "approved and queued",
  rejected: "rejected",
  cancelled: "withdrawn",
  pending: "needs further approvals; yours counts",
};

const DONE_WITH_RAISE = { ...DONE, approved: "may cost that much", rejected: "may not cost more" };

function bodyOf(act, { reason, number }) {
  if (act === "comment") return { text: reason };
  return act === "approve" && number > 0 ? { reason, up_to_usd: number } : { reason };
}

/** Ask, and do what `button` says to the request of `item`. Return false if the person cancels. Throws a Refusal. */
export async function decide(button, item) {
  const { act } = button.dataset;
  const { request, name, raise } = item.dataset;
  const answer = await ask(QUESTIONS[act](item.dataset));
  if (!answer) return false;
  const address = `/api/approvals/${encodeURIComponent(request)}/${act}`;
  const { status } = await switchedOff(button, () => call("POST", address, bodyOf(act, answer)));
  const words = raise === undefined ? DONE : DONE_WITH_RAISE;
  toast(act === "comment" ? "Comment added." : `${name}: ${words[status] ?? status}.`);
  return true;
}
