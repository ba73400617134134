// The pictures of a training: a slider over the steps of one prompt, the full size, and small copies that come later.

import "../job/job.js";
import { refresh } from "../shell/sections.js";
import "./small_copies.js";

// A training that runs writes more; the stream tells of its end alone.
const GROWTH_MS = 20_000;

const find = (id) => document.getElementById(id);
const results = find("results");
const full = find("full");

const isPlainClick = (event) => event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey);

// The slider

let data = null;
let place = null;

const seriesOf = (prompt) => data.pictures[prompt] ?? [];
const small = (address) => `${address}?thumbnail=${data.large}`;

/** The picture of `series` at the step nearest to `step`. */
function nearest(series, step) {
  let best = null;
  for (const picture of series) {
    if (!best || Math.abs(picture[0] - step) < Math.abs(best[0] - step)) best = picture;
  }
  return best;
}

function showIn(prefix, picture, text) {
  const image = find(`${prefix}-image`);
  const link = find(`${prefix}-link`);
  link.hidden = !picture;
  find(`${prefix}-text`).textContent = picture ? `${text}step ${picture[0]}` : `${text}no picture of this prompt`;
  if (!picture) return;
  const address = small(picture[1]);
  if (image.getAttribute("src") !== address) {
    delete image.dataset.tries;
    image.src = address;
  }
  image.alt = `Step ${picture[0]}: ${promptText(find("slider-prompt").value)}`;
  link.href = picture[1];
  link.dataset.step = picture[0];
  link.dataset.prompt = find("slider-prompt").value;
}

function promptText(prompt) {
  const options = [...(find("slider-prompt")?.options ?? [])];
  return options.find((option) => option.value === prompt)?.textContent.trim() ?? "";
}

function showSlide() {
  const prompt = find("slider-prompt").value;
  const series = seriesOf(prompt);
  const range = find("slider-range");
  range.max = String(Math.max(0, series.length - 1));
  const picture = series[Number(range.value)];
  if (!picture) return;
  place = { prompt, step: picture[0] };
  const isOnly = series.length === 1;
  range.closest("label").hidden = isOnly;
  // The pictures below stand under their step.
  find("slider-text").hidden = isOnly && !data.beside;
  range.setAttribute("aria-valuetext", `Step ${picture[0]}`);
  showIn("slider", picture, data.beside ? "This run, " : "");
  if (data.beside) showIn("beside", nearest(data.beside[prompt] ?? [], picture[0]), "The other run, ");
}

/** Set up the slider anew: the page's part may have been fetched with more pictures. */
function startSlider() {
  const source = find("slider-data");
  if (!source) return;
  data = JSON.parse(source.textContent);
  const prompt = find("slider-prompt");
  if (place && seriesOf(place.prompt).length) prompt.value = place.prompt;
  const series = seriesOf(prompt.value);
  const wasAt = place ? series.findIndex(([step]) => step === place.step) : -1;
  const range = find("slider-range");
  range.max = String(Math.max(0, series.length - 1));
  range.value = String(wasAt < 0 ? series.length - 1 : wasAt);
  showSlide();
}

results.addEventListener("input", ({ target }) => {
  if (target.id === "slider-range") showSlide();
});

results.addEventListener("change", ({ target }) => {
  if (target.id === "slider-prompt") {
    const series = seriesOf(target.value);
    const picture = nearest(series, place?.step ?? 0);
    find("slider-range").max = String(Math.max(0, series.length - 1));
    find("slider-range").value = String(series.indexOf(picture));
    showSlide();
  }
  if (target.id === "slider-beside") target.form.requestSubmit();
});

// Full size

let opened = null;

function showFull(prompt, step) {
  const series = seriesOf(prompt);
  const index = series.findIndex(([one]) => one === step);
  if (index < 0) return;
  opened = { prompt, index };
  const [, address] = series[index];
  find("full-image").src = address;
  find("full-image").alt = `Step ${step}: ${promptText(prompt)}`;
  find("full-text").textContent = `Step ${step}: ${promptText(prompt)}`;
  find("full-file").href = address;
  find("full-earlier").disabled = index === 0;
  find("full-later").disabled = index === series.length - 1;
  if (!full.open) full.showModal();
}

function move(by) {
  const picture = seriesOf(opened.prompt)[opened.index + by];
  if (picture) showFull(opened.prompt, picture[0]);
}

results.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-step]");
  if (!link || !data || !isPlainClick(event) || link.id === "beside-link") return;
  event.preventDefault();
  showFull(link.dataset.prompt, Number(link.dataset.step));
});

find("full-earlier").addEventListener("click", () => move(-1));
find("full-later").addEventListener("click", () => move(1));
find("full-close").addEventListener("click", () => full.close());
full.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});

let touchedAt = null;
full.addEventListener("touchstart", (event) => (touchedAt = event.changedTouches[0].clientX), { passive: true });
full.addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - touchedAt;
  if (Math.abs(moved) > 60) move(moved > 0 ? -1 : 1);
});

// The page's part, fetched anew

document.addEventListener("htmx:finally:request", (event) => event.target === results && startSlider());
if ("grows" in results.dataset) setInterval(() => document.hidden || refresh(results), GROWTH_MS);
startSlider();
