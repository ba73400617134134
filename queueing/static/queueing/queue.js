// The levers of the queue. What the page shows, the server renders (sections.js).

import { ask, call, onEvent, showProblem, switchedOff, toast } from "../cloudtrain/shell/page.js";
import { refresh } from "../cloudtrain/shell/sections.js";

const queue = document.getElementById("queue");
const spoken = document.getElementById("spoken");
const { maxPriority } = queue.dataset;
const nameOf = (line) => line.dataset.name;
const address = (line, verb) => `/api/queue/${encodeURIComponent(line.dataset.job)}/${verb}`;

const VERBS = {
  process: async (send) => {
    await send("POST", "/api/queue/process");
    toast("Eligible jobs start in a moment.");
  },
  pause: async (send) => {
    const answer = await ask({
      title: "Pause the queue?",
      text: "No new job starts, for anybody, until the queue is resumed. Running jobs continue.",
      yes: "Pause the queue",
      no: "Cancel",
    });
    if (!answer) return;
    await send("POST", "/api/queue/pause");
    toast("The queue is paused.");
  },
  resume: async (send) => {
    await send("POST", "/api/queue/resume");
    toast("The queue is resumed.");
  },
  priority: async (send, line) => {
    const answer = await ask({
      title: "Set the priority",
      name: nameOf(line),
      text: "moves in the queue. Your name and reason are recorded.",
      number: {
        label: "Priority",
        help: `0 to ${maxPriority}. Ten points equal one hour of waiting.`,
        value: line.dataset.priority,
        max: maxPriority,
      },
      reason: "Reason",
      yes: "Set the priority",
      no: "Cancel",
      isDangerous: false,
    });
    if (!answer) return;
    await send("POST", address(line, "priority"), { priority: answer.number, reason: answer.reason });
    toast(`The priority of ${nameOf(line)} is ${answer.number}.`);
  },
  cancel: async (send, line) => {
    const answer = await ask({
      title: "Cancel this job?",
      name: nameOf(line),
      text: "stops and can’t be resumed. What it has cost so far stays.",
      yes: "Cancel the job",
    });
    if (!answer) return;
    await send("POST", address(line, "cancel"), {});
    toast(`${nameOf(line)} is being cancelled.`);
  },
};

// Events bring a running job's percent more often than the page is fetched.
onEvent({
  event: ({ type, job_id: id, progress }) => {
    if (type !== "job_progress" || typeof progress !== "number") return;
    const chip = document.getElementById(`entry-${id}`)?.querySelector(".chip");
    const bar = chip?.querySelector("progress");
    if (!bar) return;
    bar.value = progress;
    chip.querySelector("[data-percent]").textContent = `${Math.floor(progress)} %`;
  },
});

// What was cancelled goes from under the keyboard.
let hasActed = false;

function stay() {
  if (!hasActed || document.activeElement !== document.body) return;
  hasActed = false;
  document.getElementById("main").focus({ preventScroll: true });
}

queue.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button || button.disabled) return;
  // While a question is open the button must be able to get the keyboard back.
  const send = (...request) => switchedOff(button, () => call(...request));
  try {
    await VERBS[button.dataset.act](send, button.closest(".line"));
  } catch (refusal) {
    if (refusal.status !== 401) showProblem(refusal.message);
  }
  hasActed = true;
  refresh(queue);
});

// What a listener wants to know: whether the queue goes, and how long it is.
const state = () => {
  const [is, running, waiting] = [...queue.querySelectorAll("[data-spoken]")].map((part) => part.textContent.trim());
  return `The queue is ${is.toLowerCase()}: ${running} running, ${waiting} waiting`;
};
let announced = state();

document.addEventListener("htmx:finally:request", (event) => {
  if (event.target !== queue) return;
  stay();
  if (state() === announced) return;
  announced = state();
  spoken.textContent = announced;
});
