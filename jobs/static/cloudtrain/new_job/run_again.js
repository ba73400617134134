// A new job that begins with another one's submission: what it begins with, and what has been changed of it.

const find = (id) => document.getElementById(id);
const data = find("run-again-data");
const begin = data && JSON.parse(data.textContent);

/** What the page begins with: fields of a submission, its configs as texts; null without a parent. */
export const parentSubmission = begin && { ...begin.submission, provider: begin.provider, dataset: begin.dataset };

/** The fields by which the server knows the parent. */
export function parentFields() {
  if (!parentSubmission) return {};
  const checkpoint = find("checkpoint")?.value;
  return { parent: parentSubmission.parent, ...(checkpoint ? { checkpoint } : {}) };
}

/** Show the changes of a dry run's answer; null: there is no answer, and what was shown may be old. */
export function showChanges(changes) {
  if (!parentSubmission) return;
  find("run-again").classList.toggle("is-old", !changes);
  if (!changes) return;
  const lines = changes.items.map(({ path, text }) => {
    const line = document.createElement("li");
    // A setting of the config is called by its name there; the others have a label.
    const isCode = text.startsWith(path);
    if (isCode) line.append(Object.assign(document.createElement("code"), { textContent: path }));
    line.append(isCode ? text.slice(path.length) : text);
    return line;
  });
  const more = changes.total - lines.length;
  if (more > 0) lines.push(Object.assign(document.createElement("li"), { textContent: `and ${more} more` }));
  find("run-changes").replaceChildren(...lines);
  find("run-unchanged").hidden = changes.total > 0;
}
