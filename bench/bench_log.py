"""How fast a long log opens on its job's page, in a real browser, and how smoothly it scrolls.

    python -m bench.bench_log [--megabytes 5] [--rounds 5] [--marks]

The embedded default serves an ended job's log, kept in pieces as a provider that forgets had it. From the start of the
navigation, in a browser that has nothing of it yet, to the first lines and to the last one in view; to stay below: one
second. Then the log is scrolled from end to end in 60 frames. The baseline is the same text as one element, from its
making to its layout, without the time to fetch it. `--marks` prints when each request of the page began and ended.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from statistics import median
from typing import Any

from bench.browser import chromium, context_of
from bench.stack import Figure, Stack, print_table, running_stack

TARGET_MS = 1000
FRAME_MS = 100
PIECE = 50_000
LINE = "2026-11-22 13:04:40,{:03} - INFO - step {}/60000 loss: 0.0871 lr: 0.0001 grad_norm: 0.42 {}\n"
LAST = "the last line"
FIRST_SEEN = "() => document.querySelector('.log-row') && performance.now()"
LAST_SEEN = f"() => document.querySelector('.log-rows')?.textContent.includes('{LAST}') && performance.now()"
REQUESTS = """() => performance.getEntriesByType('resource').map((one) =>
  `${one.name.replace(location.origin, '').padEnd(72)} ${one.startTime.toFixed(0)} - ${one.responseEnd.toFixed(0)}`)"""
LONGEST_FRAME = """() => new Promise((resolve) => {
  const box = document.querySelector('#log-view');
  const step = (box.scrollHeight - box.clientHeight) / 60;
  let longest = 0, before = performance.now(), count = 0;
  box.scrollTop = 0;
  requestAnimationFrame(function frame(now) {
    if (count) longest = Math.max(longest, now - before);
    before = now;
    box.scrollTop = step * (count += 1);
    if (count <= 60) requestAnimationFrame(frame); else resolve(longest);
  });
})"""
AS_ONE = """async (address) => {
  const text = await (await fetch(address)).text();
  const began = performance.now();
  const whole = document.createElement('pre');
  whole.textContent = text;
  document.body.append(whole);
  whole.getBoundingClientRect();
  return performance.now() - began;
}"""


def make_job(user: Any, size: int) -> str:
    """An ended job with a log of about `size` bytes."""
    from django.utils import timezone

    from jobs.models import Job, LogPiece, Membership

    lines = [LINE.format(step % 1000, step, "x" * (step % 30)) for step in range(size // 105)]
    text = "".join(lines) + f"{LAST}\n"
    organization = Membership.objects.get(user=user).organization
    now = timezone.now()
    job = Job.objects.create(
        organization=organization, submitted_by=user, correlation_id="bench", provider="replicate", external_id="bench",
        config_name="bench", status="completed", started_at=now, completed_at=now, log_size=len(text),
    )  # fmt: skip
    LogPiece.objects.bulk_create(
        LogPiece(job=job, start=start, end=min(start + PIECE, len(text)), text=text[start : start + PIECE])
        for start in range(0, len(text), PIECE)
    )
    return job.pk


def open_log(browser: Any, stack: Stack, job_id: str, *, marks: bool) -> tuple[float, float, float, float]:
    """Milliseconds to the first lines, to the last one, of the longest frame, and of the text as one element."""
    context = context_of(browser, stack, "alice", viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"/jobs/{job_id}", wait_until="commit")
    first = page.wait_for_function(FIRST_SEEN).json_value()
    last = page.wait_for_function(LAST_SEEN).json_value()
    if marks:
        print("\n".join([*page.evaluate(REQUESTS), ""]))
    longest = page.evaluate(LONGEST_FRAME)
    as_one = page.evaluate(AS_ONE, f"/jobs/{job_id}/log.txt")
    context.close()
    return first, last, longest, as_one


def figures(stack: Stack, megabytes: float, rounds: int, *, marks: bool) -> Iterator[Figure]:
    from django.contrib.auth.models import User

    stack.make_member("alice", "researcher")
    job_id = make_job(User.objects.get(username="alice"), int(megabytes * 1_000_000))
    with chromium() as browser:
        found = [open_log(browser, stack, job_id, marks=marks) for _ in range(rounds)]
    first, last, longest, as_one = (median(times) for times in zip(*found, strict=True))
    yield Figure(f"{megabytes:g} MB of log, its first lines in view", first, "ms")
    yield Figure(f"{megabytes:g} MB of log, its last line in view", last, "ms", target=TARGET_MS)
    yield Figure("the longest frame of a scroll through it", longest, "ms", target=FRAME_MS)
    yield Figure("the same text as one element, laid out", as_one, "ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--marks", action="store_true")
    options = parser.parse_args()
    with running_stack() as stack:
        found = list(figures(stack, options.megabytes, options.rounds, marks=options.marks))
    return print_table("The log on a job's page; medians", found)


if __name__ == "__main__":
    sys.exit(main())
