// One file on its way to the server, with how far it is. `fetch` can't tell that.

import { Refusal, changeHeaders, signedOut } from "../shell/page.js";

/**
 * Send `form` to `address`. `progress(fraction)` is called as it goes; `signal` aborts it. Returns the answer; throws a
 * Refusal for anything but success, and an AbortError when it was aborted.
 */
export function upload(address, form, { progress, signal }) {
  const request = new XMLHttpRequest();
  request.open("POST", address);
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  for (const [name, value] of Object.entries(changeHeaders())) request.setRequestHeader(name, value);
  signal.addEventListener("abort", () => request.abort());
  return new Promise((resolve, reject) => {
    request.upload.addEventListener(
      "progress",
      (event) => event.lengthComputable && progress(event.loaded / event.total),
    );
    request.addEventListener("load", () => {
      if (request.status === 401) signedOut();
      if (request.status >= 200 && request.status < 300) resolve(request.response);
      else reject(new Refusal(request.status, request.response));
    });
    request.addEventListener("error", () => {
      reject(
        new Refusal(0, { detail: "The file was not uploaded: the connection was lost, or the server refused it." }),
      );
    });
    request.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    request.send(form);
  });
}
