// The buttons of an approval request on its job's page. The stream of events brings the outcome.

import { decide } from "./deciding.js";
import { showProblem } from "../cloudtrain/shell/page.js";
import { refresh } from "../cloudtrain/shell/sections.js";

document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-request] [data-act]");
  if (!button || button.disabled) return;
  const section = button.closest("[data-live]");
  try {
    if (!(await decide(button, button.closest("[data-request]")))) return;
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  if (section?.isConnected) refresh(section);
});
