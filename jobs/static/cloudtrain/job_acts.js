// What is done to an ended job, from the list and from its own page.

import { ask, call } from "./page.js";

// By job: a retry whose answer got lost is the same retry when it is sent again.
const keys = new Map();

function keyOf(jobId) {
  if (!keys.has(jobId)) {
    const parts = crypto.getRandomValues(new Uint32Array(4));
    keys.set(jobId, `retry-${[...parts].map((part) => part.toString(36)).join("-")}`);
  }
  return keys.get(jobId);
}

/** Ask, then run the job once more. Returns `{ job_id, address, warnings }` of the new one, or null. Throws a Refusal. */
export async function askAndRetry(jobId, name) {
  const answer = await ask({
    title: "Run this job again?",
    name,
    words: "is submitted once more, with the same config and hardware, and costs again.",
    yes: "Run it again",
    no: "Leave it",
    isDangerous: false,
  });
  if (!answer) return null;
  const headers = { "Idempotency-Key": keyOf(jobId) };
  const made = await call("POST", `/api/cloud/jobs/${encodeURIComponent(jobId)}/retry`, {}, headers);
  keys.delete(jobId);
  return { ...made, address: `/jobs/${encodeURIComponent(made.job_id)}` };
}

/** Ask, then delete the job. Returns whether it is gone. Throws a Refusal. */
export async function askAndDelete(jobId, name) {
  const answer = await ask({
    title: "Delete this job?",
    name,
    words: "leaves every list, with its log and its history, and can’t be brought back. What it cost stays counted.",
    yes: "Delete the job",
  });
  if (!answer) return false;
  await call("DELETE", `/api/cloud/jobs/${encodeURIComponent(jobId)}`);
  return true;
}
