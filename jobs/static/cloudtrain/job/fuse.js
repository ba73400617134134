// The limit of what a job may cost, on its page.

import { ask, call, switchedOff, toast } from "../shell/page.js";

/** Ask for an amount, and set it as the job's limit; beyond what was approved, those who approve are asked for it. */
export async function askAndSetLimit(jobId, name, button) {
  const { proposed, free } = button.dataset;
  const beyond = free === undefined ? "" : ` A limit above $${free} needs approval.`;
  const answer = await ask({
    title: "Set a cost limit",
    name,
    text: `may cost this much in total.${beyond}`,
    number: {
      label: "US dollars",
      help: "You get a warning at 80 %.",
      value: proposed,
      min: 0.01,
      max: 99_999_999,
      step: 0.01,
    },
    reason: free === undefined ? undefined : "Reason (the reviewers read it)",
    isReasonOptional: true,
    yes: "Set the limit",
    no: "Cancel",
    isDangerous: false,
  });
  if (!answer) return;
  const isMore = free !== undefined && answer.number > Number(free);
  const body = { max_cost_usd: answer.number, ...(isMore ? { ask: true, reason: answer.reason } : {}) };
  const address = `/api/cloud/jobs/${encodeURIComponent(jobId)}/fuse`;
  const { asked } = await switchedOff(button, () => call("POST", address, body));
  toast(asked ? "Approval requested." : "Limit set.");
}
