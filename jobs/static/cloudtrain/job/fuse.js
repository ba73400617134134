// The limit of what a job may cost, on its page.

import { ask, call, switchedOff, toast } from "../shell/page.js";

/** Ask for an amount, and set it as the job's limit; beyond what was approved, those who approve are asked for it. */
export async function askAndSetLimit(jobId, name, button) {
  const { proposed, free } = button.dataset;
  const beyond = free === undefined ? "" : ` More than $${free} is asked of those who approved it, with the reason.`;
  const answer = await ask({
    title: "What may this job cost?",
    name,
    text: `may cost this much in all.${beyond}`,
    number: {
      label: "US dollars",
      help: "It is warned of at 80 %.",
      value: proposed,
      min: 0.01,
      max: 99_999_999,
      step: 0.01,
    },
    reason: free === undefined ? undefined : "Reason, for those who are asked",
    isReasonOptional: true,
    yes: "Set the limit",
    no: "Leave it",
    isDangerous: false,
  });
  if (!answer) return;
  const isMore = free !== undefined && answer.number > Number(free);
  const body = { max_cost_usd: answer.number, ...(isMore ? { ask: true, reason: answer.reason } : {}) };
  const address = `/api/cloud/jobs/${encodeURIComponent(jobId)}/fuse`;
  const { asked } = await switchedOff(button, () => call("POST", address, body));
  toast(asked ? "Those who approve it are asked." : "The limit is set.");
}
