// The page of a new job: its form, and beside it at all times what the server says it would come to.

import { configEditor } from "../editor/config_editor.js";
import { call, onEvent, showProblem } from "../shell/page.js";
import { beginWith, datasetError, datasetNow, isUploading, takeDatasets } from "./dataset.js";
import { showFieldErrors } from "./field_errors.js";
import { showForecast, showOld } from "./forecast.js";
import { fuseFields, fuseHindrance, onFuse } from "./fuse.js";
import { copyWith, saveWith } from "./handing_on.js";
import { choosePlace, onPlaceChange, placeHindrance, showPlaces } from "./places.js";
import { parentFields, parentSubmission } from "./run_again.js";
import { showChoices, showDataloader, startFrom, storedName } from "./start_from.js";
import { chosenTags, showTags } from "./tags.js";

const FORECAST_MS = 350;
// The queue changes often; what would be said of it, hardly.
const QUEUE_MS = 3_000;

const find = (id) => document.getElementById(id);
const form = find("new-job");
const [name, provider, hardware, organization, tracker, webhook, button] = [
  "name",
  "provider",
  "hardware",
  "organization",
  "tracker",
  "webhook",
  "submit",
].map(find);

// Of a page's submissions only one can be: a second click, or one after a lost answer, finds the first one's job.
let key = newKey();

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const editing = { changed: () => forecastSoon(), provider: () => provider.value };
const config = configEditor(find("config"), editing);
const dataloader = configEditor(find("dataloader"), editing);

find("config").addEventListener("took", ({ detail: file }) => {
  if (!name.value) name.value = file.replace(/\.(json|toml|ya?ml)$/i, "").slice(0, 200);
});

// What is sent.

/** The submission as JSON. What stands in the editors goes as it is written: a browser would change its numbers. */
function body(more) {
  const stored = storedName();
  const fields = {
    organization: organization.value,
    hardware_profile: hardware.value,
    ...parentFields(),
    ...fuseFields(),
    ...more,
  };
  if (stored) fields.config_name_to_load = stored;
  if (name.value.trim()) fields.config_name = name.value.trim();
  if (tracker.value.trim()) fields.tracker_run_name = tracker.value.trim();
  if (webhook.value.trim()) fields.webhook_url = webhook.value.trim();
  if (datasetNow()) fields.dataset = datasetNow().id;
  if (chosenTags().length) fields.tags = chosenTags();
  const written = stored ? [] : [["config", config.read().text]];
  if (!dataloader.read().isEmpty) written.push(["dataloader_config", dataloader.read().text]);
  const parts = [...Object.entries(fields).map(([field, value]) => [field, JSON.stringify(value)]), ...written];
  return `{${parts.map(([field, text]) => `"${field}":${text}`).join(",")}}`;
}

/** Why it can't be sent at all, as a sentence; empty when it can. */
function hindrance() {
  if (editorHindrance()) return editorHindrance();
  return isUploading() ? "The dataset is still uploading." : placeHindrance() || fuseHindrance();
}

function editorHindrance() {
  const { isEmpty, problem } = config.read();
  if (!storedName() && isEmpty) return "Add a config to see cost, approval and start time.";
  if (!storedName() && problem) return "Fix the config errors first.";
  return dataloader.read().problem ? "Fix the dataloader config errors first." : "";
}

const address = () => `${form.dataset.submit}?provider=${encodeURIComponent(provider.value)}`;

// What came of a click stays until something is changed; the dry run goes on meanwhile.
let isAnswerToClick = false;

function showErrors(refusal) {
  const { config: ofConfig, dataloader_config: ofDataloader, ...errors } = refusal?.errors ?? {};
  config.refuse(ofConfig?.join(" ") ?? "");
  dataloader.refuse(ofDataloader?.join(" ") ?? "");
  const rest = showFieldErrors(errors, datasetError());
  if (isAnswerToClick) return;
  const isAtField = !refusal || (Object.keys(refusal.errors).length && !rest.length);
  showFormError(isAtField ? "" : rest.join(" ") || refusal.message);
}

function showFormError(text) {
  find("form-error").textContent = text;
  find("form-error").hidden = !text;
}

/** What looks like a mistake stands below the editor in whose text it is. */
function showFindings(findings) {
  /** @type {[typeof config, string][]} */
  const editors = [
    [config, "/config"],
    [dataloader, "/dataloader_config"],
  ];
  for (const [editor, prefix] of editors) {
    const inIt = findings.filter(({ place }) => place.startsWith(`${prefix}/`) || (!place && editor === config));
    editor.showFindings(inIt, prefix);
  }
}

// The dry run. An answer that comes after a newer question is dropped.

let lastRequest = 0;
let timer = 0;

function forecastSoon(pause = FORECAST_MS) {
  clearTimeout(timer);
  showOld();
  timer = setTimeout(requestForecast, pause);
}

async function requestForecast() {
  timer = 0;
  const number = ++lastRequest;
  const reason = hindrance();
  if (reason) return show(null, reason, true);
  try {
    const answer = await call("POST", address(), body({ dry_run: true }));
    if (number !== lastRequest || timer) return;
    showErrors(null);
    show(answer);
  } catch (refusal) {
    if (number !== lastRequest || timer) return;
    const isRefused = refusal.status === 400;
    showErrors(isRefused ? refusal : null);
    show(null, isRefused ? "Fix the errors at the fields first." : refusal.message, isRefused);
  }
}

function show(answer, text = "", isHindered = Boolean(answer?.refusal)) {
  showForecast(answer, text);
  // Not `disabled`: the keyboard gets there, and the reason is read out.
  button.setAttribute("aria-disabled", isHindered);
  showFindings(answer?.config_warnings ?? []);
}

// Submitting.

// The page must get this key before the editor, which would begin a new line.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) button.click();
  },
  { capture: true },
);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const reason = hindrance();
  isAnswerToClick = false;
  if (reason) return stopAt(reason);
  if (button.getAttribute("aria-disabled") === "true") return;
  button.disabled = true;
  try {
    const { job_id: job } = await call("POST", address(), body({ idempotency_key: key }));
    location.assign(form.dataset.job.replace("JOB", encodeURIComponent(job)));
    return; // the button stays as it is until the next page is there
  } catch (refusal) {
    refused(refusal);
  }
  button.disabled = false;
  button.focus();
});

function stopAt(text) {
  showFormError(text);
  if (!storedName() && config.read().text === undefined) config.focus();
  else if (dataloader.read().problem) dataloader.focus();
  else if (fuseHindrance()) find("fuse").focus();
}

function refused(refusal) {
  if (refusal.status === 401) return;
  if (refusal.status === 409) {
    // An answer was lost, and then the form was changed.
    key = newKey();
    showProblem(
      "A different job was already submitted from this page. Check the list of jobs before you submit this one too.",
    );
  } else showErrors(refusal);
  isAnswerToClick = true;
}

// From the beginning.

form.addEventListener("change", ({ target }) => {
  onPlaceChange(target);
  if (target === organization) {
    showChoices();
    showTags(organization.value);
  }
  if ((target.tagName === "SELECT" && target.id !== "stored") || target.closest("#tags")) forecastSoon(0);
});
form.addEventListener("input", () => {
  isAnswerToClick = false;
});
for (const field of [name, tracker, webhook]) field.addEventListener("input", () => forecastSoon());
onFuse(() => forecastSoon());
onEvent({
  event: ({ type }) => type === "queue_changed" && !timer && forecastSoon(QUEUE_MS),
  refresh: () => forecastSoon(),
});

/** Fill in a parent's submission, except for fields in which somebody typed before the scripts ran. */
function fillIn(begin) {
  config.compareWith(begin.config);
  dataloader.compareWith(begin.dataloader_config);
  showDataloader(begin.dataloader_config);
  if (isUntouched(name)) name.value = begin.config_name;
  if (isUntouched(tracker)) tracker.value = begin.tracker_run_name;
  if (isUntouched(webhook)) webhook.value = begin.webhook_url;
  find("more-fold").open = Boolean(begin.tracker_run_name || begin.webhook_url);
  beginWith(begin.dataset);
  choosePlace(begin);
  if (isUntouched(find("config-text"))) config.set(begin.config);
}

const isUntouched = (field) => field.value === field.defaultValue;

saveWith(() => ({
  problem: storedName() ? "This config is already stored. Edit a copy first." : editorHindrance(),
  config: config.read().text,
  dataloader: dataloader.read().text,
  organization: organization.value,
  name: name.value.trim(),
}));
copyWith(() => {
  const problem = hindrance();
  return problem ? { problem } : { address: address(), body: body({}) };
});
takeDatasets(form.dataset.uploads, organization, () => forecastSoon());
startFrom({ config, dataloader }, () => forecastSoon(0));
showPlaces();
if (parentSubmission) fillIn(parentSubmission);
showTags(organization.value);
button.disabled = false;
forecastSoon(0);
