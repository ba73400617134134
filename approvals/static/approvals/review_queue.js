// The review queue in the admin stays true: what others decide is there at once, or is said where a reload would lose
// what was typed or ticked.

import { follow } from "../cloudtrain/shell/live.js";

// Many events at once are one reload.
const GATHER_MS = 500;

const news = document.getElementById("review-news");
const { events, newest, reader, request, job } = news.dataset;
let gathering = 0;

const decides = ({ type, status }) =>
  type.startsWith("approval_") || (type === "job_status_changed" && status === "cancelled");
const isHere = (event) => request === undefined || event.approval_id === Number(request) || event.job_id === job;

/** Whether somebody has begun to decide. */
function isAtWork() {
  const fields = [...document.querySelectorAll("#content-main :is(textarea, input, select)")];
  const isTyped = (field) => field.matches("textarea") && field.value !== field.defaultValue;
  return fields.some((field) => field === document.activeElement || field.checked || isTyped(field));
}

function show() {
  gathering = 0;
  if (isAtWork()) news.hidden = false;
  else location.reload();
}

function onDecision(event) {
  if (event && !(decides(event) && isHere(event))) return;
  if (event?.message) document.getElementById("review-news-text").textContent = event.message;
  gathering ||= setTimeout(show, GATHER_MS);
}

follow(events, newest, reader, {
  event: onDecision,
  reset: () => onDecision(),
  up: () => news.setAttribute("data-up", ""),
  down() {},
});
