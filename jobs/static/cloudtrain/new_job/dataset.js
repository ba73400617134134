// The dataset of a new job: one file, uploaded before the job is submitted.

import { acceptFiles } from "../editor/files.js";
import { showError } from "./field_errors.js";
import { upload } from "./upload.js";

const MOST_BYTES = 100_000_000;

const find = (id) => document.getElementById(id);

let dataset = null;
let uploading = null;
// Why the last file was not taken: said until there is another one, whatever a dry run without it says.
let refusedFile = "";

/** The uploaded file, with its `id`; null: none. */
export const datasetNow = () => dataset;
export const isUploading = () => Boolean(uploading);
export const datasetError = () => refusedFile;

/** Upload what is chosen to `address`, for the organization of the moment; `changed()` is called when that changes. */
export function takeDatasets(address, organization, changed) {
  acceptFiles(find("dataset"), take);
  find("dataset-cancel").addEventListener("click", () => uploading?.abort());
  find("dataset-remove").addEventListener("click", () => {
    dataset = null;
    sayOfFile("");
    showState("none");
    find("dataset-file").focus();
    changed();
  });

  async function take(file) {
    if (uploading) return;
    sayOfFile("");
    if (file.size > MOST_BYTES) return sayOfFile(`${file.name} is larger than 100 MB.`);
    uploading = new AbortController();
    showName(file.name);
    showProgress(0);
    showState("busy");
    find("dataset-cancel").focus();
    changed();
    const parts = new FormData();
    parts.append("organization", organization.value);
    parts.append("file", file);
    try {
      const answer = await upload(address, parts, { progress: showProgress, signal: uploading.signal });
      dataset = answer.upload;
    } catch (problem) {
      if (problem.name !== "AbortError" && problem.status !== 401)
        sayOfFile(problem.errors.file?.[0] ?? problem.message);
    }
    uploading = null;
    showTaken();
    find(dataset ? "dataset-remove" : "dataset-file").focus();
    changed();
  }
}

/** Begin with a dataset that is uploaded already; null: with none. */
export function beginWith(uploaded) {
  dataset = uploaded;
  showName(dataset?.name ?? "");
  showTaken();
}

function sayOfFile(text) {
  refusedFile = text;
  showError("dataset", text);
}

const showState = (state) => ["none", "busy", "done"].forEach((one) => (find(`dataset-${one}`).hidden = one !== state));

function showName(name) {
  for (const shown of document.querySelectorAll(".dataset-name")) shown.textContent = name;
}

function showTaken() {
  if (dataset)
    find("dataset-facts").textContent =
      `${megabytes(dataset.size)}, ${dataset.files} ${dataset.files === 1 ? "file" : "files"}`;
  showState(dataset ? "done" : "none");
}

function showProgress(fraction) {
  find("dataset-progress").value = 100 * fraction;
  find("dataset-percent").textContent = fraction < 1 ? `${Math.floor(100 * fraction)} %` : "Being checked";
}

const megabytes = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
