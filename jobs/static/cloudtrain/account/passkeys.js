// Asks the browser for a passkey when a form with data-passkey is sent: "create" makes one, "get" proves one. A form
// with data-options fetches the challenge; for the others it stands in the page.

const REFUSED = "No passkey was used. Try again, or sign in another way.";

async function optionsOf(form) {
  if (!form.dataset.options) {
    return JSON.parse(document.getElementById("passkey-options").textContent);
  }
  const answer = await fetch(form.dataset.options, { headers: { Accept: "application/json" } });
  if (!answer.ok) {
    throw new Error(`status ${answer.status}`);
  }
  return (await answer.json()).request_options;
}

async function prove(form) {
  const options = await optionsOf(form);
  const ask = form.dataset.passkey === "create" ? webauthnJSON.create : webauthnJSON.get;
  if (form.dataset.passkey === "create") {
    // The device keeps the passkey with the name, and checks its owner: it signs in by itself.
    Object.assign(options.publicKey.authenticatorSelection, {
      residentKey: "required",
      requireResidentKey: true,
      userVerification: "required",
    });
  }
  return await ask(options);
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const problem = form.querySelector(".field-error");
  if (!webauthnJSON.supported()) {
    form.querySelector("button").disabled = true;
    problem.textContent = "This browser doesn’t support passkeys, or the site doesn’t use HTTPS.";
    problem.hidden = false;
    continue;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      form.elements.credential.value = JSON.stringify(await prove(form));
      form.submit();
    } catch {
      problem.textContent = REFUSED;
      problem.hidden = false;
    }
  });
}
