// Settings: questions are asked before what can't be undone, and what is shown once is copied.

import "../shell/once.js";
import { ask, toast } from "../shell/page.js";

// What a form's answer shows, such as a link that nobody can show again, must not come about anew by a reload.
const once = document.querySelector("[data-shown-once]");
if (once) history.replaceState(null, "", once.dataset.shownOnce);

// In the capturing phase: a form that was not sent yet must not count as sent.
document.addEventListener(
  "submit",
  async (event) => {
    const { target: form, submitter } = event;
    const question = submitter?.dataset ?? {};
    if (!question.ask || form.dataset.answered) return;
    event.preventDefault();
    const answer = await ask({ title: question.ask, text: question.text ?? "", yes: question.yes, no: "Cancel" });
    if (!answer) return submitter.focus();
    form.dataset.answered = "yes";
    form.requestSubmit(submitter);
  },
  { capture: true },
);

document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(field.value);
    toast("Copied");
  } catch {
    // Only a page over TLS, or of this machine, may write there.
    field.focus();
    field.select();
    toast("Press Ctrl+C, or ⌘C, to copy what is selected");
  }
});
