// What else one can do with a new job than submit it: store its config, or copy the request as a command.

import { Refusal, call, showProblem, toast } from "../shell/page.js";
import { addStored, isStored } from "./start_from.js";

const find = (id) => document.getElementById(id);
const form = find("new-job");

/** Make *Save as* work. `read()` returns `{ problem, config, dataloader, organization, name }`, the configs as texts. */
export function saveWith(read) {
  const dialog = find("save-dialog");
  const name = find("save-name");
  const error = find("save-error");

  function show(text) {
    error.textContent = text;
    error.hidden = !text;
  }

  find("save-as").addEventListener("click", () => {
    const { problem, name: proposed } = read();
    if (problem) return showProblem(problem);
    name.value = proposed;
    show("");
    dialog.showModal();
    name.select();
  });
  find("save-no").addEventListener("click", () => dialog.close());
  find("save-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { config, dataloader, organization } = read();
    const title = name.value.trim();
    if (!title) return show("Enter a name.");
    if (title.includes("/")) return show("A name has no slashes.");
    if (isStored(title) && !find("save-over").checked) {
      find("save-over-field").hidden = false;
      return show(`${organization} has a config of this name. Tick the box to replace it.`);
    }
    const body = `{"organization":${JSON.stringify(organization)},"config":${config},"dataloader_config":${dataloader || "[]"}}`;
    try {
      await call("PUT", form.dataset.config.replace("NAME", encodeURIComponent(title)), body);
    } catch (refusal) {
      if (refusal.status === 401) return dialog.close();
      return show(Object.values(refusal.errors).flat().join(" ") || refusal.message);
    }
    dialog.close();
    addStored(title);
    toast(`Config ${title} saved for ${organization}.`);
  });
  dialog.addEventListener("close", () => {
    find("save-over").checked = false;
    find("save-over-field").hidden = true;
  });
}

/** Make *Copy as curl* work. `read()` returns `{ problem, address, body }` of the submission. */
export function copyWith(read) {
  find("copy-curl").addEventListener("click", async () => {
    const { problem, address, body } = read();
    if (problem) return showProblem(problem);
    try {
      // Its secrets are masked there: what is copied ends up in histories and chats.
      const { text } = await call("POST", form.dataset.conversion, { text: body, notation: "json", masked: true });
      await copy(command(new URL(address, location.href).href, text));
    } catch (refusal) {
      if (refusal instanceof Refusal && refusal.status !== 401)
        showProblem(Object.values(refusal.errors).flat().join(" ") || refusal.message);
    }
  });
}

function command(address, body) {
  return [
    `curl -X POST '${address.replaceAll("'", "%27")}' \\`,
    `  -H "Authorization: Bearer $KEY" \\`,
    "  -H 'Content-Type: application/json' \\",
    "  --data-binary @- <<'JSON'",
    body,
    "JSON",
    "",
  ].join("\n");
}

async function copy(text) {
  const field = find("curl-text");
  field.value = text;
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied. Replace KEY with your API key.");
  } catch {
    // Only a page over TLS, or of this machine, may write there.
    find("curl-dialog").showModal();
    field.select();
  }
}
