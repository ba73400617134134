// The page of machines: fetched anew from time to time, and after a look that somebody asked for.

import { call, showProblem, switchedOff, toast } from "../shell/page.js";
import { refresh } from "../shell/sections.js";

const REFRESH_MS = 30_000;

const machines = document.getElementById("machines");

setInterval(() => {
  if (!document.hidden) refresh(machines);
}, REFRESH_MS);

machines.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act=refresh]");
  if (!button || button.disabled) return;
  try {
    await switchedOff(button, () => call("POST", button.dataset.address));
    toast(`${button.dataset.name} is being refreshed.`);
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  refresh(machines);
});
