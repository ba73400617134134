// One event stream a browser, kept open: one tab leads, holds it and tells the others; when that tab goes, another takes
// over. A lost connection is the browser's to renew, a refused one is ours.

// The server ends each stream now and then, and the browser is back two seconds later: not worth a word.
const GRACE_MS = 5_000;
const RETRY_MS = 10_000;
const CLOCK_MS = 15_000;
// A machine that slept has a stream that looks open and is dead; its clock tells. A tab in the background looks once a
// minute only.
const SLEPT_MS = 90_000;
// The tab that leads says so each time it looks. One that hangs says nothing, and keeps its lead.
const QUIET_MS = 100_000;
// What a tab that opens a moment later may have missed is told again from here.
const KEPT = 500;

/**
 * Follow the stream at `address` from after event number `since`, and tell `listener` of each
 * `event(data)`, of a `reset()` (what was missed is no longer kept), of `up()` and of `down(text)`: what the server
 * said against a further stream, or "".
 * Tabs with the same `reader` share one connection, where the browser can (a secure context).
 * Returns `{ check, rest }`: `check` opens the connection anew, so that the server looks again who asks; `rest`, after a
 * refusal, has it not be tried again until there is a reason to.
 */
export function follow(address, since, reader, listener) {
  const name = `cloudtrain-stream-${reader}`;
  const tab = Math.random().toString(36).slice(2);
  const channel = "locks" in navigator && "BroadcastChannel" in window ? new BroadcastChannel(name) : null;
  const post = (message) => channel?.postMessage(message);
  let last = Number(since);
  let isUp = null;
  let refusal = "";
  let stream = null; // the leader's
  let isCatchingUp = false;
  let leaderSeenAt = Date.now();
  let clockCheckedAt = Date.now();

  // `before`: the number of what the leader told before this. If we don't have that, this must wait for an answer.
  function receive(number, before, data) {
    if (number <= last) return;
    if (before > last) return isCatchingUp || requestMissed();
    last = number;
    listener.event(data);
  }

  // To a lower number as well: after a restored backup the server counts from there.
  function reset(number) {
    isCatchingUp = false;
    last = number;
    listener.reset();
  }

  function setState(up, text = "") {
    if (up === isUp && text === refusal) return;
    isUp = up;
    refusal = text;
    if (up) listener.up();
    else if (up === false) listener.down(text);
  }

  function lead() {
    // The others first: an error in this tab must not be theirs.
    stream = openStream(`${address}?reader=${encodeURIComponent(reader)}`, last, {
      event(number, before, data) {
        post({ kind: "event", number, before, data });
        receive(number, before, data);
      },
      reset(number) {
        post({ kind: "reset", number });
        reset(number);
      },
      state(up, text) {
        post({ kind: "state", up, text, last });
        setState(up, text);
      },
    });
  }

  function check() {
    if (stream) {
      setState(null);
      post({ kind: "state", up: null, last });
      stream.wake();
    } else post({ kind: "check" });
  }

  const rest = () => stream?.rest();

  function requestMissed() {
    isCatchingUp = true;
    post({ kind: "join", since: last, from: tab });
  }

  function catchUp({ missed, last: upTo }) {
    isCatchingUp = false;
    if (!missed) return reset(upTo);
    for (const [number, data] of missed) receive(number, last, data);
    last = Math.max(last, upTo);
  }

  function answerAsLeader(message) {
    if (message.kind === "join") {
      post({ kind: "missed", to: message.from, missed: stream.since(message.since), last, up: isUp, text: refusal });
      // A new page of this reader's: whoever was signed out is back.
      if (stream.isResting()) check();
    } else if (message.kind === "check") check();
    // Anything else is from a tab that led before and is just going.
  }

  function takeFromLeader(message) {
    if (message.kind === "join" || message.kind === "check" || (message.to ?? tab) !== tab) return;
    leaderSeenAt = Date.now();
    if (message.kind === "event") receive(message.number, message.before, message.data);
    else if (message.kind === "reset") reset(message.number);
    else if (message.kind === "missed") catchUp(message);
    else if (message.last > last) requestMissed();
    else isCatchingUp = false;
    if ("up" in message) setState(message.up, message.text);
  }

  function checkClock() {
    const now = Date.now();
    const slept = now - clockCheckedAt > SLEPT_MS;
    clockCheckedAt = now;
    if (stream) {
      if (slept) stream.open();
      post({ kind: "state", up: isUp, text: refusal, last });
    } else if (slept) leaderSeenAt = now;
    else if (now - leaderSeenAt > QUIET_MS) {
      setState(false);
      requestMissed();
    }
  }

  if (!channel) {
    lead();
  } else {
    channel.addEventListener("message", ({ data: message }) =>
      stream ? answerAsLeader(message) : takeFromLeader(message),
    );
    requestMissed();
    const leaving = new AbortController();
    addEventListener("pagehide", () => leaving.abort(), { once: true });
    // Held until the tab goes: the browser gives it to the next one then, whatever the tab died of.
    navigator.locks
      .request(name, { signal: leaving.signal }, () => {
        lead();
        return new Promise((release) => leaving.signal.addEventListener("abort", release));
      })
      .catch(() => {}); // left before its turn came
    setTimeout(() => isUp === null && !stream && setState(false), GRACE_MS);
  }
  setInterval(checkClock, CLOCK_MS);
  addEventListener("online", () => stream?.open());
  addEventListener("pagehide", () => stream?.close());
  // Brought back from the browser's memory of pages, with its stream closed.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  return { check, rest };
}

// What the server says to one stream too many, and when to ask again; null for anything else. The browser doesn't show a
// stream's refusal to scripts.
async function readRefusal(address) {
  const controller = new AbortController();
  const response = await fetch(address, { signal: controller.signal, credentials: "same-origin" });
  const isRefused = response.status === 429;
  const text = isRefused ? (await response.json()).detail : "";
  controller.abort(); // should it be a stream
  return isRefused ? { text, retryMs: 1000 * Number(response.headers.get("Retry-After")) || RETRY_MS } : null;
}

function openStream(address, since, receiver) {
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
    startGrace();
    source = new EventSource(`${address}&last_event_id=${encodeURIComponent(last)}`);
    source.addEventListener("open", () => {
      isResting = false;
      state(true);
    });
    source.addEventListener("error", handleError);
    source.addEventListener("message", receive);
    source.addEventListener("stream-reset", (event) => {
      last = Number(event.lastEventId);
      recent.length = 0;
      complete = last;
      receiver.reset(last);
    });
  }

  function receive(event) {
    const before = last;
    const data = JSON.parse(event.data);
    last = Number(event.lastEventId);
    recent.push([last, data]);
    if (recent.length > KEPT) [complete] = recent.shift();
    receiver.event(last, before, data);
  }

  async function handleError() {
    const lost = source;
    if (lost.readyState !== EventSource.CLOSED) return startGrace();
    clearTimeout(retry);
    const refusal = isResting ? null : await readRefusal(lost.url).catch(() => null);
    if (source !== lost) return;
    clearTimeout(retry);
    if (!isResting) retry = setTimeout(open, refusal?.retryMs ?? RETRY_MS);
    state(false, refusal?.text);
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

  function startGrace() {
    grace ||= setTimeout(state, GRACE_MS, false);
  }

  function state(up, text = "") {
    clearTimeout(grace);
    grace = 0;
    receiver.state(up, text);
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
