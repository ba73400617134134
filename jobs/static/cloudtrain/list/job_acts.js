// What is done to a job, from the list and from its own page: asked first, then sent once. Each throws a Refusal.

import { ask, call, switchedOff } from "../shell/page.js";

// By job: a retry whose answer got lost is the same retry when it is sent again.
const keys = new Map();

function keyOf(jobId) {
  if (!keys.has(jobId)) {
    const parts = crypto.getRandomValues(new Uint32Array(4));
    keys.set(jobId, `retry-${[...parts].map((part) => part.toString(36)).join("-")}`);
  }
  return keys.get(jobId);
}

const addressOf = (jobId) => `/api/cloud/jobs/${encodeURIComponent(jobId)}`;

// Not while it is asked: the keyboard comes back to the button from the question.
const send = (button, ...request) => switchedOff(button, () => call(...request));

/** Ask, then stop the job. */
export async function askAndCancel(jobId, name, button) {
  const answer = await ask({
    title: "Cancel this job?",
    name,
    text: "stops and can’t be resumed. What it has cost so far stays.",
    yes: "Cancel the job",
  });
  if (answer) await send(button, "POST", `${addressOf(jobId)}/cancel`, {});
}

/** Ask, then run the job once more. Returns the answer about the new one, with the `address` of its page; or null. */
export async function askAndRetry(jobId, name, button) {
  const answer = await ask({
    title: "Run this job again?",
    name,
    text: "is submitted once more, with the same config and hardware, and costs again.",
    yes: "Run it again",
    no: "Cancel",
    isDangerous: false,
  });
  if (!answer) return null;
  const made = await send(button, "POST", `${addressOf(jobId)}/retry`, {}, { "Idempotency-Key": keyOf(jobId) });
  keys.delete(jobId);
  return { ...made, address: `/jobs/${encodeURIComponent(made.job_id)}` };
}

/** Ask, then delete the job. Returns whether it is gone. */
export async function askAndDelete(jobId, name, button) {
  const answer = await ask({
    title: "Delete this job?",
    name,
    text:
      "leaves every list. Its log, its config files and a dataset that no other job uses are removed for good. " +
      "Results stay on the server, but only its operator can access them: download what you need first. " +
      "Its cost still counts.",
    yes: "Delete the job",
  });
  if (answer) await send(button, "DELETE", addressOf(jobId));
  return answer !== null;
}
