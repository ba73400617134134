// What stands above the list of jobs: which are shown, in what order, and Sync.

import { goTo, refreshList, showPlace } from "./dashboard.js";
import { call, showProblem, withdrawProblem, toast } from "../shell/page.js";

const filters = document.getElementById("filters");
const sync = document.getElementById("sync");

// Choosing shows the new list in place, and the keyboard stays where it is; the address says what is chosen.

function chosen() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) if (String(value).trim()) query.append(name, String(value).trim());
  const search = query.toString();
  return new URL(search ? `?${search}` : location.pathname, location.href).href;
}

filters.addEventListener("change", (event) => event.target.type !== "search" && goTo(chosen()));
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  goTo(chosen());
});
// Emptied by its own cross.
filters.elements.search.addEventListener("search", (event) => event.target.value || goTo(chosen()));

addEventListener("popstate", () => {
  const query = new URLSearchParams(location.search);
  for (const field of filters.elements) {
    if (field.type === "checkbox") field.checked = query.has(field.name);
    else if (field.type === "search" || field.tagName === "SELECT") field.value = query.get(field.name) ?? "";
  }
  for (const field of filters.querySelectorAll("[type=hidden]")) field.remove();
  for (const name of ["status", "job_type", "person", "hardware", "cost_from", "cost_to"]) {
    for (const value of query.getAll(name)) keepHidden(name, value);
  }
  showPlace();
});

function keepHidden(name, value) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name, value });
  filters.prepend(field);
}

// Sync: ask the provider for jobs that were made there, and show what came of it.

let problem = "";

sync?.addEventListener("click", async () => {
  const wasHere = document.activeElement === sync;
  withdrawProblem(problem);
  show(true);
  try {
    const { synced, warnings = [] } = await call("POST", sync.dataset.address);
    toast(`Discovered ${synced} ${synced === 1 ? "job" : "jobs"} from ${sync.dataset.from}`);
    // It stays until it is closed: somebody is to do something about it.
    problem = warnings.join(" ");
    if (problem) showProblem(problem);
  } catch (refusal) {
    problem = refusal.message;
    if (refusal.status !== 401) showProblem(problem);
  }
  show(false);
  if (wasHere && document.activeElement === document.body) sync.focus();
  refreshList();
});

function show(isBusy) {
  sync.disabled = isBusy;
  sync.setAttribute("aria-busy", isBusy);
  sync.querySelector(".spinner").hidden = !isBusy;
  sync.querySelector(".word").textContent = isBusy ? "Syncing" : "Sync";
}
