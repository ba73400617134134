// One event stream a browser, kept open: one tab leads, holds it and tells the others; when that tab goes, another takes
// over. A lost connection is the browser's to renew, a refused one is ours.

// The server ends each stream now and then, and the browser is back two seconds later: not worth a word.
const GRACE_MS = 5_000;
const RETRY_MS = 10_000;
const LOOK_MS = 15_000;
// A machine that slept has a stream that looks open and is dead; its clock tells. A tab in the background looks once a
// minute only.
const SLEPT_MS = 90_000;
// The tab that leads says so each time it looks. One that hangs says nothing, and keeps its lead.
const QUIET_MS = 100_000;
// What a tab that opens a moment later may have missed is told again from here.
const KEPT = 500;

/**
 * Follow the stream at `address` from after event number `since`, and tell `listener` of each
 * `event(data)`, of a `reset()` (what was missed is no longer kept), of `up()` and of `down(words)`: what the server
 * said against a further stream, or "".
 * Tabs with the same `reader` share one connection, where the browser can (a secure context).
 * Returns `{ check, rest }`: `check` opens the connection anew, so that the server looks again who asks; `rest`, after a
 * refusal, has it not be tried again until there is a reason to.
 */
export function follow(address, since, reader, listener) {
  const name = `cloudtrain-stream-${reader}`;
  const tab = Math.random().toString(36).slice(2);
  const channel = "locks" in navigator && "BroadcastChannel" in window ? new BroadcastChannel(name) : null;
  const tell = (message) => channel?.postMessage(message);
  let last = Number(since);
  let isUp = null;
  let why = "";
  let stream = null; // the leader's
  let isAsking = false;
  let heardAt = Date.now();
  let lookedAt = Date.now();

  // `before`: the number of what the leader told before this. If we don't have that, this must wait for an answer.
  function hear(number, before, data) {
    if (number <= last) return;
    if (before > last) return isAsking || ask();
    last = number;
    listener.event(data);
  }

  // To a lower number as well: after a restored backup the server counts from there.
  function reset(number) {
    isAsking = false;
    last = number;
    listener.reset();
  }

  function say(up, words = "") {
    if (up === isUp && words === why) return;
    isUp = up;
    why = words;
    if (up) listener.up();
    else if (up === false) listener.down(words);
  }

  function lead() {
    // The others first: an error in this tab must not be theirs.
    stream = openStream(`${address}?reader=${encodeURIComponent(reader)}`, last, {
      event(number, before, data) {
        tell({ kind: "event", number, before, data });
        hear(number, before, data);
      },
      reset(number) {
        tell({ kind: "reset", number });
        reset(number);
      },
      state(up, words) {
        tell({ kind: "state", up, words, last });
        say(up, words);
      },
    });
  }

  function check() {
    if (stream) {
      say(null);
      tell({ kind: "state", up: null, last });
      stream.wake();
    } else tell({ kind: "check" });
  }

  const rest = () => stream?.rest();

  function ask() {
    isAsking = true;
    tell({ kind: "join", since: last, from: tab });
  }

  function catchUp({ missed, last: upTo }) {
    isAsking = false;
    if (!missed) return reset(upTo);
    for (const [number, data] of missed) hear(number, last, data);
    last = Math.max(last, upTo);
  }

  function heed(told) {
    if (told.kind === "join") {
      tell({ kind: "missed", to: told.from, missed: stream.since(told.since), last, up: isUp, words: why });
      // A new page of this reader's: whoever was signed out is back.
      if (stream.isResting()) check();
    } else if (told.kind === "check") check();
    // Anything else is from a tab that led before and is just going.
  }

  function obey(told) {
    if (told.kind === "join" || told.kind === "check" || (told.to ?? tab) !== tab) return;
    heardAt = Date.now();
    if (told.kind === "event") hear(told.number, told.before, told.data);
    else if (told.kind === "reset") reset(told.number);
    else if (told.kind === "missed") catchUp(told);
    else if (told.last > last) ask();
    else isAsking = false;
    if ("up" in told) say(told.up, told.words);
  }

  function look() {
    const now = Date.now();
    const slept = now - lookedAt > SLEPT_MS;
    lookedAt = now;
    if (stream) {
      if (slept) stream.open();
      tell({ kind: "state", up: isUp, words: why, last });
    } else if (slept) heardAt = now;
    else if (now - heardAt > QUIET_MS) {
      say(false);
      ask();
    }
  }

  if (!channel) {
    lead();
  } else {
    channel.addEventListener("message", ({ data: told }) => (stream ? heed(told) : obey(told)));
    ask();
    const leaving = new AbortController();
    addEventListener("pagehide", () => leaving.abort(), { once: true });
    // Held until the tab goes: the browser gives it to the next one then, whatever the tab died of.
    navigator.locks
      .request(name, { signal: leaving.signal }, () => {
        lead();
        return new Promise((release) => leaving.signal.addEventListener("abort", release));
      })
      .catch(() => {}); // left before its turn came
    setTimeout(() => isUp === null && !stream && say(false), GRACE_MS);
  }
  setInterval(look, LOOK_MS);
  addEventListener("online", () => stream?.open());
  addEventListener("pagehide", () => stream?.close());
  // Brought back from the browser's memory of pages, with its stream closed.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  return { check, rest };
}

// What the server says to one stream too many, and when to ask again; null for anything else. The browser doesn't show a
// stream's refusal to scripts.
async function limitReached(address) {
  const asking = new AbortController();
  const response = await fetch(address, { signal: asking.signal, credentials: "same-origin" });
  const isRefused = response.status === 429;
  const words = isRefused ? (await response.json()).detail : "";
  asking.abort(); // should it be a stream
  return isRefused ? { words, pause: 1000 * Number(response.headers.get("Retry-After")) || RETRY_MS } : null;
}

function openStream(address, since, told) {
  const recent = [];
  let complete = since; // `recent` has all that came after this number
  let last = since;
  let source = null;
  let grace = 0;
  let retry = 0;
  let isResting = false;

  function open() {
    clearTimeout(retry);
    source?.close();
    waitALittle();
    source = new EventSource(`${address}&last_event_id=${encodeURIComponent(last)}`);
    source.addEventListener("open", () => {
      isResting = false;
      state(true);
    });
    source.addEventListener("error", lose);
    source.addEventListener("message", hear);
    source.addEventListener("stream-reset", (event) => {
      last = Number(event.lastEventId);
      recent.length = 0;
      complete = last;
      told.reset(last);
    });
  }

  function hear(event) {
    const before = last;
    const data = JSON.parse(event.data);
    last = Number(event.lastEventId);
    recent.push([last, data]);
    if (recent.length > KEPT) [complete] = recent.shift();
    told.event(last, before, data);
  }

  async function lose() {
    const lost = source;
    if (lost.readyState !== EventSource.CLOSED) return waitALittle();
    clearTimeout(retry);
    const refused = isResting ? null : await limitReached(lost.url).catch(() => null);
    if (source !== lost) return;
    clearTimeout(retry);
    if (!isResting) retry = setTimeout(open, refused?.pause ?? RETRY_MS);
    state(false, refused?.words);
  }

  function rest() {
    isResting = true;
    clearTimeout(retry);
    source.close();
  }

  function wake() {
    isResting = false;
    open();
  }

  function waitALittle() {
    grace ||= setTimeout(state, GRACE_MS, false);
  }

  function state(up, words = "") {
    clearTimeout(grace);
    grace = 0;
    told.state(up, words);
  }

  open();
  return {
    open,
    rest,
    wake,
    isResting: () => isResting,
    close: () => source.close(),
    // Null: some of it is no longer known here.
    since: (number) => (number < complete ? null : recent.filter(([at]) => at > number)),
  };
}
