// TOML and YAML, which the server shows as JSON.

import { call } from "../shell/page.js";

const FILE = /\.(toml|ya?ml)$/i;
// By the first line that is no comment: a name with = or :, a section, or the mark with which YAML begins.
const FOREIGN = /^(?:---|- |\[\[?[\w."' -]+\]\]?\s*$|["']?[\w.-]+["']?\s*(?:=|:(?:\s|$)))/;

/** Whether `text`, of a file of that name, is no JSON but looks like TOML or YAML. */
export function isForeign(text, file = "") {
  if (FILE.test(file)) return true;
  try {
    JSON.parse(text);
    return false;
  } catch {
    const lines = text.split("\n").map((line) => line.trim());
    return FOREIGN.test(lines.find((line) => line && !line.startsWith("#")) ?? "");
  }
}

/** Return `{ notation, text }`: the text as JSON, its numbers as they were written. Throws a Refusal. */
export function asJson(text, address, file = "") {
  const [, ending] = file.match(FILE) ?? [];
  const notation = ending ? ({ toml: "toml" }[ending.toLowerCase()] ?? "yaml") : null;
  return call("POST", address, { text, notation });
}
