// Where a new job may run: the providers and their hardware.

import { dollars } from "./forecast.js";

const find = (id) => document.getElementById(id);
const [provider, hardware, organization] = ["provider", "hardware", "organization"].map(find);
const { providers } = JSON.parse(find("providers-data").textContent);
// What an organization begins with, until the reader chooses.
const defaults = JSON.parse(find("new-job").dataset.defaults);
let isChosen = false;

const beginning = () => defaults[organization.value] ?? {};
const providerNow = () => providers.find((one) => one.name === provider.value);

/** Offer the providers and the hardware of the one that is chosen. */
export function showPlaces() {
  fill(
    provider,
    providers.map((one) => [one.name, one.enabled ? title(one) : `${title(one)} (switched off)`, !one.enabled]),
    isChosen ? provider.value : beginning().provider,
  );
  showHardware();
}

const title = (one) => (one.name === one.kind ? one.label : `${one.label} (${one.kind})`);

function showHardware() {
  const chosen = providerNow();
  fill(
    hardware,
    (chosen?.profiles ?? []).map(({ name: one, can_run_now: can }) => [
      one,
      `${hardwareName(one)} · ${price(chosen.cost_per_second[one])}${can || !chosen.can_run_now ? "" : " · no node can run it"}`,
    ]),
    (beginning().provider === provider.value && beginning().hardware) || chosen?.default_hardware,
  );
}

const hardwareName = (one) => (one === "cpu" ? "CPU" : one);

function price(perSecond) {
  if (perSecond === undefined) return "price not known";
  return perSecond === 0 ? "own hardware" : `${dollars(perSecond * 3600)} an hour`;
}

function fill(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, label, isOff]) => Object.assign(new Option(label, value), { disabled: Boolean(isOff) })),
  );
  if (options.some(([value, , isOff]) => value === chosen && !isOff)) select.value = chosen;
}

/** Take over what a change of `target` means for the others. */
export function onPlaceChange(target) {
  if ([provider, hardware].includes(target) && find("place-remark")) find("place-remark").hidden = true;
  if (target === provider) {
    isChosen = true;
    showHardware();
  }
  if (target === organization && !isChosen) showPlaces();
}

/** Choose where a parent ran, as far as that is offered now. */
export function choosePlace(begin) {
  const offers = (select, value) => [...select.options].some((one) => one.value === value && !one.disabled);
  isChosen = true;
  if (offers(provider, begin.provider)) provider.value = begin.provider;
  showHardware();
  if (offers(hardware, begin.hardware_profile)) hardware.value = begin.hardware_profile;
}

/** Why a job can run nowhere; empty when it can. */
export function placeHindrance() {
  if (!providerNow()?.enabled) return "No provider is enabled. An operator can enable one.";
  return hardware.value ? "" : "This provider has no hardware. Choose another provider.";
}
