// What the server says of the fields of a new job, at the fields.

const PLACES = {
  config_name_to_load: "stored",
  config_name: "name",
  provider: "provider",
  hardware_profile: "hardware",
  organization: "organization",
  dataset: "dataset",
  tracker_run_name: "tracker",
  webhook_url: "webhook",
  checkpoint: "checkpoint",
  max_cost_usd: "fuse",
  fuse_action: "fuse-action",
};

const find = (id) => document.getElementById(id);

/** Show the error of a field; empty: none. */
export function showError(place, text) {
  const error = find(`${place}-error`);
  if (!error) return;
  error.textContent = text;
  error.hidden = !text;
  const field = find(place === "dataset" ? "dataset-file" : place);
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

/** Show the texts of `errors`, by the API's fields, and return as sentences those that have no field here. */
export function showFieldErrors(errors, datasetError) {
  const rest = { ...errors };
  for (const [field, place] of Object.entries(PLACES)) {
    const text = rest[field]?.join(" ") || (place === "dataset" ? datasetError : "");
    if (!find(`${place}-error`)) continue;
    showError(place, text);
    delete rest[field];
  }
  return Object.entries(rest).map(([field, texts]) =>
    field === "non_field_errors" ? texts.join(" ") : `${field}: ${texts.join(" ")}`,
  );
}
