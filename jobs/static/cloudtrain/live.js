// One event stream, kept open: a lost connection is the browser's to renew, a refused one is ours.

// The server ends each stream now and then, and the browser is back two seconds later: not worth a word.
const GRACE_MS = 5_000;
const RETRY_MS = 10_000;
// A machine that slept has a stream that looks open and is dead; its clock tells.
const LOOK_MS = 15_000;
const SLEPT_MS = 90_000;

/**
 * Follow the stream at `address` from after event number `since`, and tell `listener` of each
 * `event(data)`, of a `reset()` (what was missed is no longer kept), of `up()` and of `down()`.
 */
export function follow(address, since, listener) {
  let source = null;
  let last = since;
  let isUp = null;
  let grace = 0;
  let retry = 0;
  let lookedAt = Date.now();

  function open() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource(`${address}?last_event_id=${encodeURIComponent(last)}`);
    source.addEventListener("open", say.bind(null, true));
    source.addEventListener("error", lose);
    source.addEventListener("message", hear);
    source.addEventListener("stream-reset", (event) => {
      last = event.lastEventId || last;
      listener.reset();
    });
  }

  function hear(event) {
    last = event.lastEventId || last;
    listener.event(JSON.parse(event.data));
  }

  function lose() {
    grace ||= setTimeout(say, GRACE_MS, false);
    if (source.readyState === EventSource.CLOSED) {
      clearTimeout(retry);
      retry = setTimeout(open, RETRY_MS);
    }
  }

  function say(up) {
    clearTimeout(grace);
    grace = 0;
    if (up === isUp) return;
    isUp = up;
    if (up) listener.up();
    else listener.down();
  }

  function look() {
    const slept = Date.now() - lookedAt > SLEPT_MS;
    lookedAt = Date.now();
    if (slept) open();
  }

  open();
  setInterval(look, LOOK_MS);
  addEventListener("online", open);
  addEventListener("pagehide", () => source.close());
}
