// A new job that begins with another one's submission: what it begins with, and what has been changed of it.

import { readJson, writeJson } from "./json_check.js";

const find = (id) => document.getElementById(id);
const data = find("run-again-data");
// Numbers stay as they are written.
const begin = data && readJson(data.textContent).value;
const submission = begin?.submission;

/** What the page begins with: fields of a submission, numbers as they are written; null without a parent. */
export const parentSubmission = submission && {
  ...submission,
  provider: begin.provider,
  config: writeJson(submission.config),
  dataloader: submission.dataloader_config.length ? writeJson(submission.dataloader_config) : "",
  dataset: begin.dataset && { ...begin.dataset, size: Number(begin.dataset.size), files: Number(begin.dataset.files) },
};

/** The fields by which the server knows the parent. */
export function parentFields() {
  if (!submission) return {};
  const checkpoint = find("checkpoint")?.value;
  return { parent: submission.parent, ...(checkpoint ? { checkpoint } : {}) };
}

/** Show the changes of a dry run's answer; null: there is no answer, and what was shown may be old. */
export function showChanges(changes) {
  if (!submission) return;
  find("run-again").classList.toggle("is-old", !changes);
  if (!changes) return;
  const lines = changes.items.map(({ path, text }) => {
    const line = document.createElement("li");
    line.append(Object.assign(document.createElement("code"), { textContent: path }), text.slice(path.length));
    return line;
  });
  const more = changes.total - lines.length;
  if (more > 0) lines.push(Object.assign(document.createElement("li"), { textContent: `and ${more} more` }));
  find("run-changes").replaceChildren(...lines);
  find("run-unchanged").hidden = changes.total > 0;
}
