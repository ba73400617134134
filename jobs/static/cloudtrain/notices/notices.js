// The page of one's own notices: the browser is asked for its permission on a click, before anything is stored.

const find = (id) => document.getElementById(id);
const isKnown = "Notification" in window;

async function isAllowed() {
  const answer = isKnown ? await Notification.requestPermission() : "denied";
  find("browser-refused").hidden = answer === "granted";
  return answer === "granted";
}

find("browser-form")?.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.dataset.allowed) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!(await isAllowed())) return;
  form.dataset.allowed = "yes";
  // An answer that is there at once comes while the form is still being submitted, and would be lost.
  setTimeout(() => form.requestSubmit());
});

// Chosen on another machine: this browser was not asked yet.
const ask = find("browser-ask");
if (ask && isKnown) ask.hidden = Notification.permission !== "default";
if (ask && (!isKnown || Notification.permission === "denied")) find("browser-refused").hidden = false;
ask?.addEventListener("click", async () => {
  ask.hidden = await isAllowed();
});
