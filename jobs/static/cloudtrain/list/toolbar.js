// What stands above the list of jobs: search, filters, and the look for jobs that were made elsewhere.

import { goTo, refreshList } from "./dashboard.js";
import { closeMenu } from "../shell/menus.js";
import { call, showProblem, withdrawProblem, toast } from "../shell/page.js";
import { refresh } from "../shell/sections.js";

const search = document.getElementById("search");
const sync = document.getElementById("sync");

// Each form changes its own part of the address, and shows the list from its top.

function show(query) {
  query.delete("cursor");
  const filled = new URLSearchParams([...query].filter(([, value]) => value.trim()));
  goTo(new URL(`?${filled}`, location.href).href);
}

function showSearch() {
  const query = new URLSearchParams(location.search);
  query.set("search", search.value.trim());
  show(query);
}

search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  showSearch();
});
// Emptied by its own cross.
search.addEventListener("search", () => search.value || showSearch());
addEventListener("popstate", () => {
  search.value = new URLSearchParams(location.search).get("search") ?? "";
});

// A panel is fetched each time it is opened, and closed by its form. Until it comes there is none: what one chose in that of
// before would be lost.

for (const panel of document.querySelectorAll(".panel")) {
  const menu = panel.closest("details");
  menu.addEventListener("toggle", () => {
    panel.replaceChildren();
    if (menu.open) refresh(panel);
  });
}

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.id !== "filter-form") return;
  event.preventDefault();
  const query = new URLSearchParams(/** @type {any} */ (new FormData(form)));
  const hasDays = ["period", "created_from", "created_to"].some((name) => query.get(name));
  const zone = document.body.dataset.zone || new Intl.DateTimeFormat().resolvedOptions().timeZone;
  query.set("zone", hasDays ? query.get("zone") || zone : "");
  closeMenu(form.closest("details"));
  show(query);
});

// Ask the providers for jobs that were made there, and show what came of it.

let problem = "";

sync?.addEventListener("click", async () => {
  const wasHere = document.activeElement === sync;
  withdrawProblem(problem);
  showBusy(true);
  try {
    const { synced, warnings = [] } = await call("POST", sync.dataset.address);
    toast(
      synced
        ? `${synced} new ${synced === 1 ? "job" : "jobs"} at ${sync.dataset.from}`
        : `No new jobs at ${sync.dataset.from}`,
    );
    // It stays until it is closed: somebody is to do something about it.
    problem = warnings.join(" ");
    if (problem) showProblem(problem);
  } catch (refusal) {
    problem = refusal.message;
    if (refusal.status !== 401) showProblem(problem);
  }
  showBusy(false);
  if (wasHere && document.activeElement === document.body) sync.focus();
  refreshList();
});

function showBusy(isBusy) {
  sync.disabled = isBusy;
  sync.setAttribute("aria-busy", isBusy);
  sync.querySelector(".spinner").hidden = !isBusy;
}
