// What a new job's config starts from: nothing, an example, or a config that the organization has stored.

import { call, showProblem } from "../shell/page.js";

const find = (id) => document.getElementById(id);
const [select, organization, name] = ["stored", "organization", "name"].map(find);
const storedNames = JSON.parse(find("stored-data").textContent);
const examples = JSON.parse(find("examples-data").textContent);
const [STORED, EXAMPLE] = ["stored:", "example:"];

let editors = null;
let stored = null; // what is shown of a stored config: its texts
let own = ""; // what stands in the editor meanwhile

/** The name of the stored config that is submitted as it is; empty: what stands in the editor is submitted. */
export const storedName = () => (select.value.startsWith(STORED) ? select.value.slice(STORED.length) : "");

/** Make the choice work. `of` are the editors, `{ config, dataloader }`; `changed()` is called after a choice. */
export function startFrom(of, changed) {
  editors = of;
  showChoices();
  const begin = async () => {
    await choose();
    changed();
  };
  select.addEventListener("change", begin);
  // Somebody may have chosen before this script ran.
  if (select.value && !editors.config.text()) begin();
  find("copy-stored").addEventListener("click", () => {
    own = stored.config;
    nameIt(storedName());
    if (stored.dataloader_config && !editors.dataloader.text()) showDataloader(stored.dataloader_config);
    release();
    changed();
    editors.config.focus();
  });
}

/** Offer the stored configs of the organization of the moment. */
export function showChoices() {
  const before = select.value;
  const names = storedNames[organization.value] ?? [];
  const group = find("stored-choices");
  group.replaceChildren(...names.map((one) => new Option(one, STORED + one)));
  group.hidden = !names.length;
  select.value = before;
  if (select.value === before) return;
  release();
}

/** Offer a config that has just been stored. */
export function addStored(added) {
  const names = (storedNames[organization.value] ??= []);
  if (!names.includes(added)) names.push(added);
  names.sort();
  showChoices();
}

/** Whether the organization has a stored config of that name. */
export const isStored = (one) => (storedNames[organization.value] ?? []).includes(one);

function choose() {
  if (select.value.startsWith(EXAMPLE)) return showExample(select.value.slice(EXAMPLE.length));
  return storedName() ? showStored() : release();
}

function showExample(key) {
  release();
  const { name: title, text } = examples[key];
  editors.config.set(text);
  nameIt(title);
}

function nameIt(title) {
  if (!name.value) name.value = title;
}

async function showStored() {
  const address = `${select.dataset.address}?${new URLSearchParams({ organization: organization.value, name: storedName() })}`;
  try {
    const answer = await call("GET", address);
    if (!stored) own = editors.config.text();
    stored = answer;
  } catch (refusal) {
    release();
    if (refusal.status !== 401) showProblem(refusal.message);
    return;
  }
  show(true);
  editors.config.set(stored.config);
}

function release() {
  select.value = "";
  show(false);
  if (stored) editors.config.set(own);
  stored = null;
}

function show(isStoredShown) {
  editors.config.setReadOnly(isStoredShown);
  find("stored-hint").hidden = !isStoredShown;
  find("config-file").parentElement.hidden = isStoredShown;
}

export function showDataloader(text) {
  editors.dataloader.set(text);
  find("dataloader-fold").open = Boolean(text);
}
