"""How soon the list of jobs is there in a real browser, and how smoothly it takes a storm of news.

    python -m bench.bench_browser [--jobs 100000] [--loads 7] [--seconds 20] [--rate 20] [--marks]

The embedded default serves a researcher whose organization has most of the jobs. First page: the largest contentful
paint, in browsers that have nothing of it yet and in one that has it cached; to stay below: one second, at the worst.
Storm: this process, one beside the web server's and the browser's, moves fifty listed jobs through their lives, by the
verbs that the dispatcher and the poller use: half of the news are changes of status, half are progress. No frame may
take 100 ms, and at the end the page must say what the database says. The baseline is the naive page, which fetches the
whole list anew with each event (htmx), and beside it stands the same page while nothing happens.

A headless browser paints without a graphics card: what its compositor does on a desktop's card is done here by the same
cores that run the server and the storm. A frame that is short here is short there. `--marks` prints what the longest
frames were spent on.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.bench_pages import make_jobs
from bench.stack import Figure, Stack, StackError, percentile, print_table, running_stack
from tests.servers import find_binary

PAINT_MS = 1000
FRAME_MS = 100
LISTED = 50
QUIET_SECONDS = 5
#: A job tells of its progress once a second at most.
PAUSE_SECONDS = 1.1
SETTLE_SECONDS = 15
WINDOW = {"width": 1280, "height": 800}

PAINTED = """() => new Promise((resolve) => {
  const seen = new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime));
  seen.observe({ type: "largest-contentful-paint", buffered: true });
})"""
WATCH = """() => {
  const seen = window.seen = { frames: [], long: [], blocked: 0, changes: 0, requests: 0 };
  const list = document.querySelector("#jobs-view");
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
#: As a page does that knows nothing of rows.
NAIVE = """async (script) => {
  const { onEvent } = await import(script);
  onEvent({ event: () => htmx.ajax("GET", "/", { target: "#job-list", select: "#job-list", swap: "outerHTML" }) });
}"""
SHOWN = """() => Object.fromEntries([...document.querySelectorAll("#job-rows tr")].map((row) =>
  [row.dataset.job, row.dataset.kind]))"""


@dataclass
class Seen:
    """What a page went through."""

    frames: list[float]
    long: list[dict[str, Any]]
    #: To the document; to the server.
    changes: int
    requests: int
    events: int = 0
    took: float = 0.0
    #: From the last event to a page that says what the database says, in milliseconds.
    behind: float = 0.0
    #: Of the page's main thread, in seconds.
    work: float = 0.0

    @property
    def late_frames(self) -> int:
        return sum(frame > FRAME_MS for frame in self.frames)


@dataclass
class Life:
    """A job and what is still to happen to it."""

    job: Any
    steps: list[Callable[[Any], None]]
    updated_at: float = field(default=0.0)


# --- The jobs and their news -----------------------------------------------------------------------------------


def pause_queue() -> None:
    """No job may start but by our hand."""
    from cloudtrain_site.states import SYSTEM, Source
    from queueing import operations

    operations.set_paused(True, operations.ChangedBy(SYSTEM, Source.API))


def make_lives(chance: random.Random) -> list[Life]:
    """Fifty new jobs, in the queue: the newest of all, so that the first page lists them and no others."""
    from django.contrib.auth.models import User

    from cloudtrain_site.states import Actor, Source
    from jobs import lifecycle
    from jobs.configs.submission import Submission
    from jobs.models import Organization
    from jobs.roles import Role
    from queueing import claims

    user, team = User.objects.get(username="rachel"), Organization.objects.get(name="acme")
    lives = []
    for number in range(LISTED):
        submission = Submission("replicate", {"max_train_steps": 1000}, f"storm-{number}", "gpu-t4")
        job = lifecycle.create(submission, organization=team, user=user, source=Source.API, estimated_cost=None)
        claims.enqueue(job, role=Role.RESEARCHER, held=False, actor=Actor.of(user), source=Source.API)
        lives.append(Life(job, steps_of(chance)))
    return lives


def steps_of(chance: random.Random) -> list[Callable[[Any], None]]:
    """A life of eight events: four changes of status, four words of progress."""
    from cloudtrain_site.states import Actor, Source, change_state
    from jobs import lifecycle
    from jobs.providers.base import Snapshot
    from jobs.providers.progress import Progress
    from jobs.statuses import JobStatus

    provider = Actor(name="replicate")

    def upload(job: Any) -> None:
        assert lifecycle.begin_submission(job)
        assert change_state(job, JobStatus.UPLOADING, actor=provider, source=Source.DISPATCHER, reason="")

    def accept(job: Any) -> None:
        snapshot = Snapshot(external_id=f"storm-{job.pk}", status=JobStatus.QUEUED)
        assert lifecycle.mark_submitted(job, snapshot, actor=provider)

    def report(status: JobStatus, percent: float | None = None, **fields: Any) -> Callable[[Any], None]:
        progress = percent and Progress(stage="Training", percent=percent, last_log=f"step {percent:.0f}")

        def apply(job: Any) -> None:
            snapshot = Snapshot(external_id=job.external_id, status=status, progress=progress or None, **fields)
            lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)

        return apply

    end = (
        report(JobStatus.COMPLETED)
        if chance.random() < 0.8
        else report(JobStatus.FAILED, error_message="CUDA out of memory. Tried to allocate 2.5 GiB.")
    )
    training = [report(JobStatus.RUNNING, percent) for percent in (20.5, 41, 61.5, 82)]
    return [upload, accept, report(JobStatus.RUNNING), *training, end]


def storm(lives: list[Life], seconds: float, rate: float, chance: random.Random) -> float:
    """One event after the other, `rate` a second. Returns for how long it went on."""
    began = time.monotonic()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        now = time.monotonic()
        waiting = [life for life in lives if life.steps and life.updated_at < now - PAUSE_SECONDS]
        if not waiting:
            break
        # Those that have most before them come first, roughly, so that none is left alone at the end.
        life = max(waiting, key=lambda one: len(one.steps) + chance.uniform(0, 4))
        life.steps.pop(0)(life.job)
        life.updated_at = now
    return time.monotonic() - began


# --- The browser -----------------------------------------------------------------------------------------------


def new_context(browser: Any, stack: Stack) -> Any:
    from django.contrib.auth.models import User

    from tests.web import session_cookies

    context = browser.new_context(base_url=stack.url, viewport=WINDOW)
    cookies = session_cookies(User.objects.get(username="rachel"))
    context.add_cookies([{"name": n, "value": v, "url": stack.url} for n, v in cookies.items()])
    return context


def paint(context: Any) -> float:
    """Load the first page; milliseconds from the start of the navigation to the largest paint."""
    page = context.new_page()
    page.goto("/")
    page.locator("#pulse[data-state=up]").wait_for()
    took = float(page.evaluate(PAINTED))
    page.close()
    return took


def paints(browser: Any, stack: Stack, loads: int) -> tuple[list[float], list[float]]:
    """Of cold loads, each in a browser of its own, and of as many warm ones in one that was here before."""
    cold = []
    for _ in range(loads):
        context = new_context(browser, stack)
        cold.append(paint(context))
        context.close()
    context = new_context(browser, stack)
    paint(context)
    warm = [paint(context) for _ in range(loads)]
    context.close()
    return cold, warm


def open_list(browser: Any, stack: Stack, *, naive: bool) -> Any:
    page = new_context(browser, stack).new_page()
    if naive:
        for script in ("dashboard", "toolbar"):
            page.route(f"**/{script}.*.js", lambda route: route.abort())
    page.goto("/")
    page.locator("#pulse[data-state=up]").wait_for()
    if naive:
        from django.templatetags.static import static  # needs Django, which is set up by now

        page.evaluate(NAIVE, static("cloudtrain/shell/page.js"))
    page.evaluate(WATCH)
    return page


class Clock:
    """How long the page's main thread has worked, by its own clock: beside others on the machine, the wall's lies."""

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


def watch_storm(browser: Any, stack: Stack, options: argparse.Namespace, *, naive: bool = False) -> Seen:
    """What a list of fifty jobs goes through while they go through their lives."""
    from cloudtrain_site.events.store import current_number
    from jobs.models import Job

    chance = random.Random(2)
    lives = make_lives(chance)
    page = open_list(browser, stack, naive=naive)
    until_it_says(page, dict.fromkeys((life.job.pk for life in lives), "pending"))
    clock = Clock(page)
    before = current_number()
    took = storm(lives, options.seconds, options.rate, chance)
    events, ended = current_number() - before, time.monotonic()
    until_it_says(
        page,
        dict(Job.objects.filter(config_name__startswith="storm-").order_by("-id")[:LISTED].values_list("pk", "status")),
    )
    behind = (time.monotonic() - ended) * 1000
    work = clock.seconds()
    seen = close(page)
    seen.events, seen.took, seen.behind, seen.work = events, took, behind, work
    return seen


def watch_nothing(browser: Any, stack: Stack) -> Seen:
    page = open_list(browser, stack, naive=False)
    time.sleep(QUIET_SECONDS)
    return close(page)


# --- The table -------------------------------------------------------------------------------------------------


def show_marks(seen: Seen) -> None:
    for one in sorted(seen.long, key=lambda frame: -frame["took"])[:8]:
        print(f"    {one['took']:.0f} ms, {one['drawn']:.0f} of them from its drawing on: {'; '.join(one['scripts'])}")


def figures(stack: Stack, options: argparse.Namespace) -> Iterator[Figure]:
    from playwright.sync_api import sync_playwright

    from cloudtrain_site.tasks import refresh_statistics

    pause_queue()
    make_jobs(options.jobs)
    refresh_statistics()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_binary("chromium"), args=["--no-sandbox"])
        print(f"Chromium {browser.version}, {options.jobs:,} jobs")
        cold, warm = paints(browser, stack, options.loads)
        quiet = watch_nothing(browser, stack)
        ours = watch_storm(browser, stack, options)
        naive = watch_storm(browser, stack, options, naive=True)
        browser.close()
    if options.marks:
        for name, seen in (("quiet", quiet), ("storm", ours), ("naive", naive)):
            print(f"{name}: {len(seen.frames)} frames, {len(seen.long)} long ones")
            show_marks(seen)
    yield from of_paints(cold, warm)
    yield from of_storm(ours, naive, quiet, options)


def of_paints(cold: list[float], warm: list[float]) -> Iterator[Figure]:
    for name, times in (("nothing cached", cold), ("a second visit", warm)):
        yield Figure(f"largest paint, {name}: median", percentile(times, 50), "ms", target=PAINT_MS)
        yield Figure(f"largest paint, {name}: worst", max(times), "ms", target=PAINT_MS)


def of_storm(ours: Seen, naive: Seen, quiet: Seen, options: argparse.Namespace) -> Iterator[Figure]:
    least = 0.98 * options.rate
    yield Figure("events a second", ours.events / ours.took, "", naive.events / naive.took, least, at_least=True)
    yield Figure("events", ours.events, "", naive.events)
    yield Figure("the longest frame", max(ours.frames), "ms", max(naive.frames), FRAME_MS)
    yield Figure("frames over 100 ms", ours.late_frames, "", naive.late_frames, 0)
    yield Figure("99 of 100 frames take at most", percentile(ours.frames, 99), "ms", percentile(naive.frames, 99))
    yield Figure("frames that the browser calls long (50 ms)", len(ours.long), "", len(naive.long))
    yield Figure(
        "work of the page's thread, a second", 1000 * ours.work / ours.took, "ms", 1000 * naive.work / naive.took
    )
    yield Figure("requests", ours.requests, "", naive.requests)
    yield Figure("changes to the document", ours.changes, "", naive.changes)
    yield Figure("from the last event to a true list", ours.behind, "ms", naive.behind)
    yield Figure("the longest frame while nothing happens", max(quiet.frames), "ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--marks", action="store_true")
    options = parser.parse_args()
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's calls run inside an event loop
    with running_stack(settings={"background": {"job_status_polling": {"enabled": False}}}) as stack:
        found = list(figures(stack, options))
    return print_table("The list of jobs in the browser; the baseline is the naive page", found)


if __name__ == "__main__":
    sys.exit(main())
