// Settings: a form is sent once, questions are asked before what can't be undone, and what is shown once is copied.

import { ask, toast } from "../shell/page.js";

// What a form's answer shows, such as a link that nobody can show again, must not come about anew by a reload.
if (document.querySelector("[data-shown-once]")) history.replaceState(null, "", location.href);

const sent = new WeakSet();

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  const { submitter } = event;
  const question = submitter?.dataset ?? {};
  if (sent.has(form)) return event.preventDefault();
  if (question.ask && !form.dataset.answered) {
    event.preventDefault();
    const answer = await ask({ title: question.ask, text: question.text ?? "", yes: question.yes, no: "Cancel" });
    if (!answer) return submitter.focus();
    form.dataset.answered = "yes";
    return form.requestSubmit(submitter);
  }
  if (submitter?.formTarget !== "_blank") sent.add(form);
});

// Back from the next page, the browser may show this one as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

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
