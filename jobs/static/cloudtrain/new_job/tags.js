// The tags of a new job: those of the organization that is chosen.

const part = document.getElementById("tags");

/** Show the tags of that organization, and no part without any. */
export function showTags(organization) {
  if (!part) return;
  for (const choice of part.querySelectorAll("fieldset")) choice.hidden = choice.dataset.organization !== organization;
  part.hidden = !part.querySelector("fieldset:not([hidden])");
}

/** Return the ticked ones. */
export const chosenTags = () =>
  [...(part?.querySelectorAll("fieldset:not([hidden]) :checked") ?? [])].map((box) => box.value);
