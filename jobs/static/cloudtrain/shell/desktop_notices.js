// Notices that the browser shows, while no page of the site is in front.

import { onEvent } from "./page.js";

const { reader } = document.body.dataset;
// Held by each tab that is in front: the others ask who holds it.
const IN_FRONT = `cloudtrain-in-front-${reader}`;
const TAG_LENGTH = 200;

let letGo = null;

function mark() {
  const isInFront = !document.hidden && document.hasFocus();
  if (isInFront === (letGo !== null)) return;
  if (!isInFront) {
    letGo();
    letGo = null;
    return;
  }
  // Made at once, while the lock comes later: this is called again before that.
  const untilBehind = new Promise((resolve) => {
    letGo = resolve;
  });
  navigator.locks.request(IN_FRONT, { mode: "shared" }, () => untilBehind).catch(() => {});
}

async function isAnyInFront() {
  const { held } = await navigator.locks.query();
  return held.some((lock) => lock.name === IN_FRONT);
}

async function show({ subject, link, key }) {
  if (await isAnyInFront()) return;
  // Every tab shows it, and the tag makes one of them.
  const shown = new Notification(subject, { tag: key.slice(0, TAG_LENGTH) });
  shown.addEventListener("click", () => {
    window.focus();
    shown.close();
    if (link.startsWith("/") && !link.startsWith("//")) location.assign(link);
  });
}

// Only a page over TLS, or of this machine, has locks.
if ("Notification" in window && "locks" in navigator) {
  for (const type of ["visibilitychange", "focus", "blur", "pageshow"]) addEventListener(type, mark, true);
  mark();
  onEvent({
    event(data) {
      const isOurs = data.type === "notice" && String(data.user_id) === reader;
      if (isOurs && Notification.permission === "granted") show(data);
    },
  });
}
