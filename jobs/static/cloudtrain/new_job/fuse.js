// The limit of what a new job may cost.

import { parentSubmission } from "./run_again.js";

const amount = document.getElementById("fuse");
const action = document.getElementById("fuse-action");

if (parentSubmission) {
  amount.value = parentSubmission.max_cost_usd ?? "";
  action.value = parentSubmission.fuse_action ?? "";
}

/** What is sent of it; nothing while there is no limit. */
export const fuseFields = () => ({
  ...(amount.value ? { max_cost_usd: amount.value } : {}),
  ...(action.value ? { fuse_action: action.value } : {}),
});

/** Why it can't be sent, as a sentence; empty when it can. */
export const fuseHindrance = () => (amount.validity.valid ? "" : "Enter the limit in US dollars, such as 30 or 12.50.");

/** Call `changed` whenever the amount changes. */
export const onFuse = (changed) => amount.addEventListener("input", changed);
