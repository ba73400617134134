// One event stream a browser, kept open: one tab holds it and tells the others; when that tab goes, another takes over.
// A lost connection is the browser's to renew, a refused one is ours.

// The server ends each stream now and then, and the browser is back two seconds later: not worth a word.
const GRACE_MS = 5_000;
const RETRY_MS = 10_000;
// A machine that slept has a stream that looks open and is dead; its clock tells.
const LOOK_MS = 15_000;
const SLEPT_MS = 90_000;
// What a tab that opens a moment later may have missed is told again from here.
const KEPT = 500;

/**
 * Follow the stream at `address` from after event number `since`, and tell `listener` of each
 * `event(data)`, of a `reset()` (what was missed is no longer kept), of `up()` and of `down()`.
 * Tabs with the same `reader` share one connection, where the browser can (a secure context).
 */
export function follow(address, since, reader, listener) {
  const name = `cloudtrain-stream-${reader}`;
  const tab = Math.random().toString(36).slice(2);
  const canShare = "locks" in navigator && "BroadcastChannel" in window;
  const channel = canShare ? new BroadcastChannel(name) : null;
  let last = Number(since);
  let isUp = null;
  let stream = null;

  function hear(number, data) {
    if (number <= last) return;
    last = number;
    listener.event(data);
  }

  function reset(number) {
    last = Math.max(last, number);
    listener.reset();
  }

  function say(up) {
    if (up === isUp) return;
    isUp = up;
    if (up) listener.up();
    else listener.down();
  }

  function lead() {
    stream = openStream(address, last, {
      news(number, data) {
        hear(number, data);
        channel?.postMessage({ kind: "news", number, data });
      },
      reset(number) {
        reset(number);
        channel?.postMessage({ kind: "reset", number });
      },
      state(up) {
        say(up);
        channel?.postMessage({ kind: "state", up });
      },
    });
  }

  function answer({ since: joined, from }) {
    const missed = stream.since(joined);
    if (!missed) channel.postMessage({ kind: "reset", number: stream.last(), to: from });
    else for (const [number, data] of missed) channel.postMessage({ kind: "news", number, data, to: from });
    if (isUp !== null) channel.postMessage({ kind: "state", up: isUp, to: from });
  }

  function receive({ data: told }) {
    if (told.to && told.to !== tab) return;
    if (told.kind === "join") {
      if (stream) answer(told);
    } else if (stream) {
      // Only the holder of the lock tells: this is from a tab that is just going.
    } else if (told.kind === "news") hear(told.number, told.data);
    else if (told.kind === "reset") reset(told.number);
    else say(told.up);
  }

  if (!canShare) {
    lead();
  } else {
    channel.addEventListener("message", receive);
    channel.postMessage({ kind: "join", since: last, from: tab });
    // Held until the tab goes: the browser gives it to the next one then, whatever the tab died of.
    navigator.locks.request(name, () => {
      lead();
      return new Promise(() => {});
    });
  }
  addEventListener("pagehide", () => stream?.close());
  // Brought back from the browser's memory of pages, with its stream closed.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

function openStream(address, since, told) {
  const recent = [];
  let complete = since; // `recent` has all that came after this number
  let last = since;
  let source = null;
  let grace = 0;
  let retry = 0;
  let lookedAt = Date.now();

  function open() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource(`${address}?last_event_id=${encodeURIComponent(last)}`);
    source.addEventListener("open", () => state(true));
    source.addEventListener("error", lose);
    source.addEventListener("message", hear);
    source.addEventListener("stream-reset", (event) => {
      last = Number(event.lastEventId) || last;
      recent.length = 0;
      complete = last;
      told.reset(last);
    });
  }

  function hear(event) {
    last = Number(event.lastEventId) || last;
    const data = JSON.parse(event.data);
    recent.push([last, data]);
    if (recent.length > KEPT) [complete] = recent.shift();
    told.news(last, data);
  }

  function lose() {
    grace ||= setTimeout(state, GRACE_MS, false);
    if (source.readyState === EventSource.CLOSED) {
      clearTimeout(retry);
      retry = setTimeout(open, RETRY_MS);
    }
  }

  function state(up) {
    clearTimeout(grace);
    grace = 0;
    told.state(up);
  }

  function look() {
    const slept = Date.now() - lookedAt > SLEPT_MS;
    lookedAt = Date.now();
    if (slept) open();
  }

  open();
  setInterval(look, LOOK_MS);
  addEventListener("online", open);
  return {
    close: () => source.close(),
    last: () => last,
    // Null: some of it is no longer known here.
    since: (number) => (number < complete ? null : recent.filter(([at]) => at > number)),
  };
}
