// Which jobs of the list are ticked to be compared.

const [FEWEST, MOST] = [2, 5];

const form = document.getElementById("compare");
const count = document.getElementById("compare-count");
const button = form?.querySelector("button");

function show() {
  const { length } = document.querySelectorAll(".job-tick:checked");
  form.hidden = !length;
  button.disabled = length < FEWEST || length > MOST;
  const more = length < FEWEST ? "choose one more" : length > MOST ? `at most ${MOST} can be compared` : "";
  const text = [`${length} chosen`, more].filter(Boolean).join(", ");
  if (count.textContent !== text) count.textContent = text;
}

if (form) {
  document.addEventListener("change", ({ target }) => target.matches(".job-tick") && show());
  // Rows come and go, and whole lists.
  new MutationObserver(show).observe(document.getElementById("jobs-page"), { childList: true, subtree: true });
  show();
}
