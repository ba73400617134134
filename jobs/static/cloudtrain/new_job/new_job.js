// The page of a new job: its form, and beside it at all times what the server says it would come to.

import { fuseFields, fuseHindrance, onFuse } from "./fuse.js";
import { acceptFiles, jsonEditor } from "./json_editor.js";
import { readJson, writeJson } from "./json_check.js";
import { call, onEvent, showProblem } from "../shell/page.js";
import { duration } from "../shell/times.js";
import { parentFields, parentSubmission, showChanges } from "./run_again.js";
import { chosenTags, showTags } from "./tags.js";
import { upload } from "./upload.js";

const FORECAST_MS = 350;
// The queue changes often; what would be said of it, hardly.
const QUEUE_MS = 3_000;
const MOST_BYTES = 100_000_000;

const find = (id) => document.getElementById(id);
const form = find("new-job");
const [stored, name, provider, hardware, organization, tracker, webhook] = [
  "stored",
  "name",
  "provider",
  "hardware",
  "organization",
  "tracker",
  "webhook",
].map(find);

// Of a page's submissions only one can be: a second click, or one after a lost answer, finds the first one's job.
let key = newKey();

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const config = jsonEditor(find("config"), forecastSoon);
const dataloader = jsonEditor(find("dataloader"), forecastSoon);
let configs = [];
let providers = [];
let own = ""; // what stands in the editor while a stored config is looked at
let dataset = null;

// What can be chosen.

function fill(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, label, isOff]) => Object.assign(new Option(label, value), { disabled: Boolean(isOff) })),
  );
  if (options.some(([value, , isOff]) => value === chosen && !isOff)) select.value = chosen;
}

// What an organization begins with, until the reader chooses.
const defaults = JSON.parse(form.dataset.defaults);
const beginning = () => defaults[organization.value] ?? {};
let isProviderChosen = false;

function showProviders() {
  fill(
    provider,
    providers.map((one) => [one.name, one.enabled ? title(one) : `${title(one)} (switched off)`, !one.enabled]),
    isProviderChosen ? provider.value : beginning().provider,
  );
  showHardware();
}

const title = (one) => (one.name === one.kind ? one.label : `${one.label} (${one.kind})`);

function showHardware() {
  const chosen = providers.find((one) => one.name === provider.value);
  fill(
    hardware,
    (chosen?.profiles ?? []).map(({ name: one, can_run_now: can }) => [
      one,
      `${one} · ${price(chosen.cost_per_second[one])}${can || !chosen.can_run_now ? "" : " · no node can run it"}`,
    ]),
    (beginning().provider === provider.value && beginning().hardware) || chosen?.default_hardware,
  );
}

function price(perSecond) {
  if (perSecond === undefined) return "price not known";
  return perSecond === 0 ? "own hardware" : `${dollars(perSecond * 3600)} an hour`;
}

const dollars = (amount) =>
  amount > 0 && amount < 0.01 ? "<$0.01" : amount.toLocaleString("en-US", { style: "currency", currency: "USD" });

function showConfigs() {
  const before = stored.value;
  const mine = configs.filter((one) => one.organization === organization.value);
  fill(stored, [["", stored.options[0].label], ...mine.map((one) => [one.name, one.name])], before);
  if (stored.value !== before) showChosen();
}

const chosenConfig = () => configs.find((one) => one.name === stored.value && one.organization === organization.value);

function showChosen() {
  const chosen = stored.value && chosenConfig();
  if (chosen && !config.field.readOnly) own = config.field.value;
  config.field.readOnly = Boolean(chosen);
  find("stored-hint").hidden = !chosen;
  find("config-file").parentElement.hidden = Boolean(chosen);
  config.set(chosen ? writeJson(chosen.config) : own);
}

find("copy-stored").addEventListener("click", () => {
  const chosen = chosenConfig();
  own = writeJson(chosen.config);
  if (!name.value) name.value = chosen.name;
  if (chosen.dataloader_config.length && !dataloader.field.value) {
    dataloader.set(writeJson(chosen.dataloader_config));
    find("dataloader-fold").open = true;
  }
  stored.value = "";
  showChosen();
  config.field.focus();
});

find("config").addEventListener("took", ({ detail: file }) => {
  if (!name.value) name.value = file.replace(/\.json$/i, "").slice(0, 200);
});

// The dataset.

let uploading = null;
// Why the last file was not taken: said until there is another one, whatever a dry run without it says.
let refusedFile = "";

function sayOfFile(text) {
  refusedFile = text;
  showError("dataset", text);
}

const showDataset = (state) =>
  ["none", "busy", "done"].forEach((one) => (find(`dataset-${one}`).hidden = one !== state));

async function takeDataset(file) {
  if (uploading) return;
  sayOfFile("");
  if (file.size > MOST_BYTES) return sayOfFile(`${file.name} is larger than 100 MB.`);
  uploading = new AbortController();
  for (const shown of document.querySelectorAll(".dataset-name")) shown.textContent = file.name;
  showProgress(0);
  showDataset("busy");
  find("dataset-cancel").focus();
  forecastSoon();
  const parts = new FormData();
  parts.append("organization", organization.value);
  parts.append("file", file);
  try {
    const answer = await upload(form.dataset.uploads, parts, { progress: showProgress, signal: uploading.signal });
    dataset = answer.upload;
  } catch (problem) {
    if (problem.name !== "AbortError" && problem.status !== 401) sayOfFile(problem.errors.file?.[0] ?? problem.message);
  }
  uploading = null;
  showTaken();
  find(dataset ? "dataset-remove" : "dataset-file").focus();
  forecastSoon();
}

function showTaken() {
  if (dataset)
    find("dataset-facts").textContent =
      `${megabytes(dataset.size)}, ${dataset.files} ${dataset.files === 1 ? "file" : "files"}`;
  showDataset(dataset ? "done" : "none");
}

function showProgress(fraction) {
  find("dataset-progress").value = 100 * fraction;
  find("dataset-percent").textContent = fraction < 1 ? `${Math.floor(100 * fraction)} %` : "Being checked";
}

const megabytes = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

acceptFiles(find("dataset"), takeDataset);
find("dataset-cancel").addEventListener("click", () => uploading?.abort());
find("dataset-remove").addEventListener("click", () => {
  dataset = null;
  sayOfFile("");
  showDataset("none");
  find("dataset-file").focus();
  forecastSoon();
});

// What is sent.

/** The submission as JSON. What stands in the editors goes as it is written: a browser would change its numbers. */
function body(more) {
  const fields = {
    organization: organization.value,
    hardware_profile: hardware.value,
    ...parentFields(),
    ...fuseFields(),
    ...more,
  };
  if (stored.value) fields.config_name_to_load = stored.value;
  if (name.value.trim()) fields.config_name = name.value.trim();
  if (tracker.value.trim()) fields.tracker_run_name = tracker.value.trim();
  if (webhook.value.trim()) fields.webhook_url = webhook.value.trim();
  if (dataset) fields.dataset = dataset.id;
  if (chosenTags().length) fields.tags = chosenTags();
  const written = stored.value ? [] : [["config", config.read().text]];
  if (!dataloader.read().isEmpty) written.push(["dataloader_config", dataloader.read().text]);
  const parts = [...Object.entries(fields).map(([field, value]) => [field, JSON.stringify(value)]), ...written];
  return `{${parts.map(([field, text]) => `"${field}":${text}`).join(",")}}`;
}

/** Why it can't be sent at all, as a sentence; empty when it can. */
function hindrance() {
  const { isEmpty, problem } = config.read();
  if (!stored.value && isEmpty)
    return "Give it a config, and here stands what it will cost, whether somebody has to approve it, and when it would start.";
  if (!stored.value && problem) return "The config has to be mended first.";
  if (dataloader.read().problem) return "The dataloader config has to be mended first.";
  return uploading ? "The dataset is still on its way." : fuseHindrance();
}

const address = () => `${form.dataset.submit}?provider=${encodeURIComponent(provider.value)}`;

// What the server says of the fields, at the fields.

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

function showError(place, text) {
  const error = find(`${place}-error`);
  if (!error) return;
  error.textContent = text;
  error.hidden = !text;
  const field = find(place === "dataset" ? "dataset-file" : place);
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

// What came of a click stays until something is changed; the dry run goes on meanwhile.
let isAnswerToClick = false;

function showErrors(refusal) {
  const errors = { ...refusal?.errors };
  config.refuse(remove(errors, "config"));
  dataloader.refuse(remove(errors, "dataloader_config"));
  for (const [field, place] of Object.entries(PLACES))
    if (find(`${place}-error`)) showError(place, remove(errors, field) || (place === "dataset" ? refusedFile : ""));
  // What has no field here, and what concerns none.
  const rest = Object.entries(errors).map(([field, texts]) =>
    field === "non_field_errors" ? texts.join(" ") : `${field}: ${texts.join(" ")}`,
  );
  if (isAnswerToClick) return;
  const isAtField = !refusal || (Object.keys(refusal.errors).length && !rest.length);
  find("form-error").textContent = isAtField ? "" : rest.join(" ") || refusal.message;
  find("form-error").hidden = Boolean(isAtField);
}

function remove(errors, field) {
  const text = errors[field]?.join(" ") ?? "";
  delete errors[field];
  return text;
}

// The dry run. An answer that comes after a newer question is dropped.

const forecast = find("forecast");
let lastRequest = 0;
let timer = 0;

function forecastSoon(pause = FORECAST_MS) {
  clearTimeout(timer);
  forecast.dataset.old = "";
  timer = setTimeout(requestForecast, pause);
}

async function requestForecast() {
  timer = 0;
  const number = ++lastRequest;
  const reason = hindrance();
  if (reason || !providers.length) return showForecast(null, reason);
  try {
    const answer = await call("POST", address(), body({ dry_run: true }));
    if (number !== lastRequest || timer) return;
    showErrors(null);
    showForecast(answer);
  } catch (refusal) {
    if (number !== lastRequest || timer) return;
    showErrors(refusal.status === 400 ? refusal : null);
    showForecast(
      null,
      refusal.status === 400 ? "It can’t be submitted as it is: see what is said at the fields." : refusal.message,
    );
  }
}

/** What looks like a mistake stands below the editor in whose text it is. */
function showFindings(findings) {
  for (const [editor, prefix] of [
    [config, "/config"],
    [dataloader, "/dataloader_config"],
  ]) {
    const inIt = findings.filter(({ place }) => place.startsWith(`${prefix}/`) || (!place && editor === config));
    editor.showFindings(inIt.map((one) => [one.place.slice(prefix.length), one.text]));
  }
}

function showForecast(answer, text = "") {
  delete forecast.dataset.old;
  showChanges(answer?.changes);
  find("forecast-text").textContent = text;
  find("forecast-text").hidden = !text;
  find("forecast-facts").hidden = !answer;
  find("forecast-hold").hidden = !answer?.requires_approval;
  showBudget(answer?.budget);
  showFindings(answer?.config_warnings ?? []);
  const beside = new Set(answer?.config_warnings.map((one) => one.text));
  const warnings = (answer?.warnings ?? []).filter((one) => !beside.has(one));
  find("forecast-warnings").replaceChildren(
    ...warnings.map((one) => Object.assign(document.createElement("li"), { textContent: one })),
  );
  if (!answer) return;
  const isFree = answer.estimated_cost_range?.high === 0;
  const doubt = answer.estimate_doubt ? `: ${answer.estimate_doubt}` : "";
  find("forecast-cost").textContent = isFree
    ? "nothing: own hardware"
    : rangeText(answer.estimated_cost_range, dollars) + doubt;
  find("forecast-time").textContent = rangeText(answer.estimated_seconds_range, duration);
  find("forecast-source").textContent = answer.estimate_source ?? "nothing yet";
  find("forecast-start").textContent = start(answer);
  const needs = answer.rules.map(
    ({ name: rule, approvals_needed: count, decided_by: people }) =>
      `the rule “${rule}” has ${count} approval${count === 1 ? "" : "s"} by ${people}`,
  );
  find("forecast-hold").textContent = `It is held until ${needs.join(", and ")}. ${answer.reason ?? ""}`;
}

/** What the strictest budget leaves for it: a warning where too little is left. */
function showBudget(budget) {
  const text = find("forecast-budget");
  text.hidden = !budget;
  text.textContent = budget ? (budget.would_wait ? `It would wait. ${budget.sentence}` : budget.sentence) : "";
  text.className = budget?.would_wait ? "notice notice-warn" : "under";
}

function rangeText(range, format) {
  if (range === null) return "not known";
  const [low, high] = [format(range.low), format(range.high)];
  return low === high ? `about ${high}` : `${low} to ${high}`;
}

function start({
  requires_approval: isHeld,
  queue_position: position,
  estimated_wait_seconds: wait,
  waiting_reason: reason,
  budget,
}) {
  if (isHeld) return "when it is approved";
  if (budget?.would_wait) return "when the budget has room for it";
  const queue = position > 1 ? `Number ${position} in the queue. ` : "";
  if (wait === null) return `${queue}${reason}`;
  return wait < 1 ? `at once. ${queue}` : `in about ${duration(wait)}. ${queue}${reason}`;
}

// Submitting.

const button = find("submit");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const reason = hindrance();
  isAnswerToClick = false;
  if (reason) return stopAt(reason);
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
  find("form-error").textContent = text;
  find("form-error").hidden = false;
  if (!stored.value && config.read().text === undefined) config.field.focus();
  else if (dataloader.read().problem) dataloader.field.focus();
  else if (fuseHindrance()) find("fuse").focus();
}

function refused(refusal) {
  if (refusal.status === 401) return;
  if (refusal.status === 409) {
    // An answer was lost, and then the form was changed.
    key = newKey();
    showProblem(
      "A job of this page was submitted before, with other contents. Look at the list of jobs before you submit this one too.",
    );
  } else showErrors(refusal);
  isAnswerToClick = true;
}

// From the beginning.

form.addEventListener("change", ({ target }) => {
  if (target === provider) {
    isProviderChosen = true;
    showHardware();
  }
  if (target === organization) {
    if (!isProviderChosen) showProviders();
    showConfigs();
    showTags(organization.value);
  }
  if (target === stored) showChosen();
  if (target.tagName === "SELECT" || target.closest("#tags")) forecastSoon(0);
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

// With a parent's submission.

function fillIn(begin) {
  config.compareWith(begin.config);
  own = begin.config;
  dataloader.compareWith(begin.dataloader);
  dataloader.set(begin.dataloader);
  find("dataloader-fold").open = Boolean(begin.dataloader);
  name.value = begin.config_name;
  tracker.value = begin.tracker_run_name;
  webhook.value = begin.webhook_url;
  find("more-fold").open = Boolean(begin.tracker_run_name || begin.webhook_url);
  dataset = begin.dataset;
  for (const shown of document.querySelectorAll(".dataset-name")) shown.textContent = dataset?.name ?? "";
  showTaken();
  isProviderChosen = true;
  config.set(own);
}

/** Where its parent ran, once the choices are there, as far as that is offered now. */
function choosePlace(begin) {
  const offers = (select, value) => [...select.options].some((one) => one.value === value && !one.disabled);
  if (offers(provider, begin.provider)) provider.value = begin.provider;
  showHardware();
  if (offers(hardware, begin.hardware_profile)) hardware.value = begin.hardware_profile;
}

async function load() {
  try {
    const exactly = (text) => readJson(text).value;
    const [providerList, configList] = await Promise.all([
      call("GET", form.dataset.providers),
      call("GET", form.dataset.configs, undefined, {}, exactly),
    ]);
    ({ providers } = providerList);
    ({ configs } = configList);
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
    return;
  }
  showProviders();
  showConfigs();
  if (parentSubmission) choosePlace(parentSubmission);
  forecastSoon(0);
}

if (parentSubmission) fillIn(parentSubmission);

showTags(organization.value);
button.disabled = false;
load();
