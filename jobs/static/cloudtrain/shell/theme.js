// The theme: its buttons change it at once, and scripts that draw learn of it.

const scheme = document.querySelector('meta[name="color-scheme"]');
const form = document.querySelector(".themes");

/** Call `draw` whenever the page's colours change: by the buttons, or with the system. */
export function onThemeChange(draw) {
  document.addEventListener("theme", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

/** Return the colour `name`, such as `--ink`, as it is now where `element` stands: for a canvas, which knows no names. */
export function colourOf(element, name) {
  const probe = element.appendChild(document.createElement("span"));
  probe.style.color = `var(${name})`;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

// Without a reload, which would lose what is typed on the page. Where it fails, the browser sends the form itself.
form?.addEventListener("submit", async (event) => {
  const chosen = event.submitter;
  event.preventDefault();
  const body = new FormData(form, chosen);
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
  if (answer?.type !== "opaqueredirect") {
    const kept = { type: "hidden", name: "theme", value: chosen.value };
    form.append(Object.assign(document.createElement("input"), kept));
    form.submit();
    return;
  }
  scheme.content = chosen.value || "light dark";
  for (const button of form.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === chosen));
  }
  document.dispatchEvent(new Event("theme"));
});
