"""How soon each page is there in a real browser, and how smoothly those that are live take a storm of news.

    python -m bench.bench_browser [--jobs 100000] [--loads 5] [--seconds 20] [--rate 20] [--marks]

The embedded default serves a lead whose organization has most of the jobs. Pages: the largest contentful paint, in
browsers that have nothing of it yet and in one that has it cached; to stay below: half a second. Storm: this process,
one beside the web server's and the browser's, moves fifty listed jobs through their lives, by the verbs that the
dispatcher and the poller use: half of the news are changes of status, half are progress; for the approvals, fifty
requests are rejected and submitted anew. The page's thread may not work for 50 ms at one go, by its own clock, which
runs only while it works: the wall's clock counts the work of others on these cores too. At the end the list must say
what the database says. The baseline is the naive page, which fetches all of it anew with each event (htmx).

A headless browser paints without a graphics card: what its compositor does on a desktop's card is done here by the same
cores that run the server and the storm. A frame that is short here is short there. `--marks` prints what the longest
frames were spent on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.bench_pages import make_jobs
from bench.browser import chromium, context_of
from bench.stack import Figure, Stack, StackError, percentile, print_table, running_stack
from bench.storm import LISTED, Life, make_lives, make_requests, pause_queue, storm

PAINT_MS = 500
FRAME_MS = 50
QUIET_SECONDS = 5
SETTLE_SECONDS = 15
WINDOW = {"width": 1280, "height": 800}

PAINTED = """() => new Promise((resolve) => {
  const seen = new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime));
  seen.observe({ type: "largest-contentful-paint", buffered: true });
})"""
WATCH = """() => {
  const seen = window.seen = { frames: [], long: [], blocked: 0, changes: 0, requests: 0 };
  const list = document.querySelector("main");
  const wanted = { subtree: true, childList: true, attributes: true, characterData: true };
  const changes = new MutationObserver((found) => { seen.changes += found.length; });
  const long = new PerformanceObserver((found) => found.getEntries().forEach((one) => seen.long.push({
    took: one.duration, work: one.blockingDuration, drawn: one.startTime + one.duration - one.renderStart,
    scripts: one.scripts.map((script) => `${script.sourceFunctionName || script.invoker} ${script.duration} ms`),
  })));
  const requests = new PerformanceObserver((found) => { seen.requests += found.getEntries().length; });
  let before = 0, last = 0;
  function frame(now) {
    if (before) seen.frames.push(now - before);
    before = now;
    last = requestAnimationFrame(frame);
  }
  changes.observe(list, wanted);
  long.observe({ type: "long-animation-frame" });
  requests.observe({ type: "resource" });
  last = requestAnimationFrame(frame);
  seen.stop = () => {
    [changes, long, requests].forEach((one) => one.disconnect());
    cancelAnimationFrame(last);
    return seen;
  };
}"""
#: Makes the page a naive one, which fetches its live part anew with each event.
NAIVE = """async ([script, part]) => {
  document.querySelectorAll("[data-live]").forEach((one) => one.removeAttribute("data-live"));
  const { onEvent } = await import(script);
  const address = location.pathname;
  onEvent({ event: () => htmx.ajax("GET", address, { target: part, select: part, swap: "outerHTML" }) });
}"""
SHOWN = """() => Object.fromEntries([...document.querySelectorAll("#job-rows tr")].map((row) =>
  [row.dataset.job, row.dataset.kind]))"""


@dataclass
class Seen:
    """What a page went through."""

    frames: list[float]
    long: list[dict[str, Any]]
    #: Changes to the document, and requests to the server.
    changes: int
    requests: int
    events: int = 0
    took: float = 0.0
    #: The longest that the page's thread worked at one go, by its own clock, in milliseconds, and what on.
    task: float = 0.0
    #: From the last event to a page that says what the database says, in milliseconds.
    behind: float = 0.0
    #: For how long the page's main thread worked, in seconds.
    work: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A page in a storm."""

    address: str
    #: The live part, which the naive page fetches anew.
    part: str
    make: Callable[[random.Random], list[Life]]


SCENES = {
    "list": Scene("/", "#job-list", make_lives),
    "queue": Scene("/queue", "#queue", make_lives),
    "approvals": Scene("/approvals", "#approvals", make_requests),
}


# --- The browser -----------------------------------------------------------------------------------------------


def new_context(browser: Any, stack: Stack) -> Any:
    return context_of(browser, stack, "lea", viewport=WINDOW)


def paint(context: Any, address: str) -> tuple[float, float]:
    """Load a page; milliseconds from the navigation's start to the server's first byte, and to the largest paint."""
    page = context.new_page()
    page.goto(address)
    page.locator("#pulse[data-state=up]").wait_for()
    took = float(page.evaluate(PAINTED))
    first = float(page.evaluate("performance.getEntriesByType('navigation')[0].responseStart"))
    page.close()
    return first, took


def pages() -> dict[str, str]:
    from jobs.models import Job

    ended, other = Job.objects.filter(organization__name="acme", status="completed").order_by("-pk")[:2]
    names = ("queue", "approvals", "metrics", "spend", "budgets", "account", "notices", "jobs/new")
    tabs = {f"a job's {tab}": f"/jobs/{ended.pk}/{tab}" for tab in ("log", "curves", "results", "config", "history")}
    compared = f"/jobs/compare?id={ended.pk}&id={other.pk}"
    return {"list": "/", **{name: f"/{name}" for name in names}, "a job": f"/jobs/{ended.pk}", **tabs, "two": compared}


def paints(browser: Any, stack: Stack, loads: int) -> Iterator[Figure]:
    """Yield the paints of cold loads, each in a browser of its own, and of as many warm ones in one browser."""
    for name, address in pages().items():
        cold = []
        for _ in range(loads):
            context = new_context(browser, stack)
            cold.append(paint(context, address))
            context.close()
        context = new_context(browser, stack)
        paint(context, address)
        warm = [paint(context, address) for _ in range(loads)]
        context.close()
        for visit, times in (("first visit", cold), ("second", warm)):
            firsts, largest = zip(*times, strict=True)
            label = f"{name}: largest paint, {visit}"
            yield Figure(label, percentile(largest, 50), "ms", percentile(firsts, 50), PAINT_MS)


def open_page(browser: Any, stack: Stack, scene: Scene, *, naive: bool) -> Any:
    page = new_context(browser, stack).new_page()
    if naive:
        page.route("**/list/list.*.js", lambda route: route.abort())
    page.goto(scene.address)
    page.locator("#pulse[data-state=up]").wait_for()
    if naive:
        from django.templatetags.static import static  # needs Django, which is set up by now

        page.evaluate(NAIVE, [static("cloudtrain/shell/page.js"), scene.part])
    page.evaluate(WATCH)
    return page


class Clock:
    """How long the page's main thread has worked, by its own clock, which counts nobody else's work."""

    def __init__(self, page: Any) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._began = self._read()

    def seconds(self) -> float:
        return self._read() - self._began

    def _read(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def close(page: Any) -> Seen:
    found = page.evaluate("() => window.seen.stop()")
    page.context.close()
    return Seen(found["frames"], found["long"], found["changes"], found["requests"])


def until_it_says(page: Any, statuses: dict[str, str]) -> None:
    """Wait until the list shows these jobs, with these statuses, and no others."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (shown := page.evaluate(SHOWN)) != statuses:
        if time.monotonic() > deadline:
            wrong = {job: (shown.get(job), status) for job, status in statuses.items() if shown.get(job) != status}
            raise StackError(f"The page does not say what the database says: {wrong or shown}")
        time.sleep(0.02)


def watch_storm(browser: Any, stack: Stack, options: argparse.Namespace, scene: Scene, *, naive: bool = False) -> Seen:
    """What a page of fifty jobs goes through while they go through their lives."""
    from cloudtrain_site.events.store import current_number

    chance = random.Random(2)
    lives = scene.make(chance)
    page = open_page(browser, stack, scene, naive=naive)
    if scene.part == "#job-list":
        until_it_says(page, dict.fromkeys((life.job.pk for life in lives), "pending"))
    clock = Clock(page)
    browser.start_tracing(page=page, categories=["toplevel"])
    before = current_number()
    took = storm(lives, options.seconds, options.rate, chance)
    events, ended = current_number() - before, time.monotonic()
    if scene.part == "#job-list":
        until_it_says(page, statuses())
    behind = (time.monotonic() - ended) * 1000
    work, task = clock.seconds(), longest_task(browser.stop_tracing())
    seen = close(page)
    seen.events, seen.took, seen.behind, seen.work, seen.task = events, took, behind, work, task
    return seen


def statuses() -> dict[str, str]:
    from jobs.models import Job

    jobs = Job.objects.filter(config_name__startswith="storm-").order_by("-id")[:LISTED]
    return dict(jobs.values_list("pk", "status"))


def longest_task(trace: bytes) -> float:
    """The longest that a page's thread worked at one go, in milliseconds of its own clock."""
    events = json.loads(trace)["traceEvents"]
    pages = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    tasks = [one for one in events if one["name"].endswith("RunTask") and (one["pid"], one["tid"]) in pages]
    return max(float(one.get("tdur", 0)) for one in tasks) / 1000


def watch_nothing(browser: Any, stack: Stack) -> Seen:
    page = open_page(browser, stack, SCENES["list"], naive=False)
    time.sleep(QUIET_SECONDS)
    return close(page)


# --- The table -------------------------------------------------------------------------------------------------


def show_marks(seen: Seen) -> None:
    for one in sorted(seen.long, key=lambda frame: -frame["took"])[:8]:
        print(f"    {one['took']:.0f} ms, {one['drawn']:.0f} of them from its drawing on: {'; '.join(one['scripts'])}")


def figures(stack: Stack, options: argparse.Namespace) -> Iterator[Figure]:
    from cloudtrain_site.tasks import refresh_statistics

    pause_queue()
    make_jobs(options.jobs)
    refresh_statistics()
    with chromium() as browser:
        print(f"Chromium {browser.version}, {options.jobs:,} jobs")
        yield from paints(browser, stack, options.loads)
        quiet = watch_nothing(browser, stack)
        yield Figure("the longest frame while nothing happens", max(quiet.frames), "ms")
        for name, scene in SCENES.items():
            ours = watch_storm(browser, stack, options, scene)
            naive = watch_storm(browser, stack, options, scene, naive=True)
            yield from of_storm(name, ours, naive, options)
            if options.marks:
                show_marks(ours)


def of_storm(name: str, ours: Seen, naive: Seen, options: argparse.Namespace) -> Iterator[Figure]:
    least = 0.95 * options.rate
    yield Figure(
        f"{name}: events a second", ours.events / ours.took, "", naive.events / naive.took, least, at_least=True
    )
    yield Figure(f"{name}: longest work at one go", ours.task, "ms", naive.task, FRAME_MS)
    work = (1000 * seen.work / seen.took for seen in (ours, naive))
    yield Figure(f"{name}: work a second", next(work), "ms", next(work))
    yield Figure(f"{name}: longest frame by the wall's clock", max(ours.frames), "ms", max(naive.frames))
    for percent in (50, 99):
        at_most = (percentile(seen.frames, percent) for seen in (ours, naive))
        yield Figure(f"{name}: {percent} of 100 frames take at most", next(at_most), "ms", next(at_most))
    yield Figure(f"{name}: requests", ours.requests, "", naive.requests)
    yield Figure(f"{name}: changes to the document", ours.changes, "", naive.changes)
    if ours.behind > 1:
        yield Figure(f"{name}: from the last event to a true page", ours.behind, "ms", naive.behind)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--marks", action="store_true")
    options = parser.parse_args()
    with running_stack(settings={"background": {"job_status_polling": {"enabled": False}}}) as stack:
        found = []
        for figure in figures(stack, options):
            print(f"{figure.name}: {figure.value:,.0f} {figure.unit}", flush=True)
            found.append(figure)
    return print_table(
        "Pages in the browser; the baseline of a paint is the first byte, that of a storm the naive page", found
    )


if __name__ == "__main__":
    sys.exit(main())
