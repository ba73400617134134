// The account page: keys that are shown once, and the time zone.

import { ask, call, fetchText, onEvent, showProblem, switchedOff, toast } from "../shell/page.js";
import { LOCALE, knownZone, showTimes, useZone } from "../shell/times.js";

const find = (id) => document.getElementById(id);
const addresses = find("main").dataset;

async function attempt(act, control) {
  try {
    return await (control ? switchedOff(control, act) : act());
  } catch (refusal) {
    if (refusal.status !== 401)
      showProblem(
        Object.values(refusal.errors ?? {})
          .flat()
          .join(" ") || refusal.message,
      );
    return null;
  }
}

// Keys.

async function showKeys() {
  const text = await fetchText(addresses.list).catch(() => null);
  if (text === null) return;
  find("keys").innerHTML = text;
  showTimes(find("keys"));
}

find("new-key").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = find("key-name");
  const button = event.target.querySelector("button");
  showKeyError("");
  if (!name.value.trim()) {
    showKeyError("Enter a name that says what the key is for.");
    return name.focus();
  }
  const scopes = [...find("key-scopes").querySelectorAll(":checked")].map((box) => box.name);
  if (!scopes.length) {
    showKeyError("Tick at least one scope.");
    return find("key-scopes").querySelector("input").focus();
  }
  button.disabled = true;
  try {
    const made = await call("POST", addresses.keys, {
      name: name.value.trim(),
      scopes,
      organization: find("key-organization")?.value ?? "",
      days: Number(find("key-days").value),
    });
    name.value = "";
    find("made-name").textContent = made.name;
    find("made-key").value = made.key;
    find("made").hidden = false;
    find("made-key").focus();
    find("made-key").select();
    await showKeys();
  } catch (refusal) {
    if (refusal.status !== 401) showKeyError(refusal.message);
  }
  button.disabled = false;
});

function showKeyError(text) {
  find("key-error").textContent = text;
  find("key-error").hidden = !text;
}

find("copy").addEventListener("click", async () => {
  const key = find("made-key");
  try {
    await navigator.clipboard.writeText(key.value);
    toast("Copied");
  } catch {
    // Only a page over TLS, or of this machine, may write there.
    key.focus();
    key.select();
    toast("Press Ctrl+C, or ⌘C, to copy what is selected");
  }
});

find("made-close").addEventListener("click", () => {
  find("made-key").value = "";
  find("made").hidden = true;
  find("key-name").focus();
});

find("keys").addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act=revoke]");
  if (!button) return;
  const row = button.closest("tr");
  const { key } = row.dataset;
  const answer = await ask({
    title: "Revoke this key?",
    name: row.querySelector("bdi").textContent,
    text: "stops working at once, wherever it is used. This can’t be undone.",
    yes: "Revoke the key",
  });
  if (!answer) return;
  const done = await attempt(() => call("DELETE", `${addresses.keys}/${encodeURIComponent(key)}`), button);
  if (done) toast("Key revoked");
  await showKeys();
  (find("keys").querySelector("[data-act=revoke]") ?? find("key-name")).focus();
});

// The time zone is stored as it is chosen.

const keep = (changes, control) => attempt(() => call("PATCH", addresses.account, changes), control);

const zone = find("zone");
let kept = zone.value;

zone.addEventListener("change", async () => {
  if (await keep({ time_zone: zone.value })) {
    kept = zone.value;
    useZone(kept);
    showTimes(document);
    toast("Times are shown in this zone");
  } else zone.value = kept;
  showNow();
});

function showNow() {
  const format = new Intl.DateTimeFormat(LOCALE, {
    dateStyle: "medium",
    timeStyle: "short",
    timeZone: knownZone(kept),
  });
  find("zone-now").textContent =
    `It is ${format.format(new Date())}${kept ? "" : ` in ${format.resolvedOptions().timeZone}`}.`;
}

showNow();
setInterval(showNow, 20_000);
onEvent({ refresh: showKeys });
