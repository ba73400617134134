"""How fast five jobs of 100,000 steps are compared, over HTTP: the API's answer, and the page.

    python -m bench.bench_compare [--steps 100000] [--rounds 5]

The embedded default serves five ended jobs, their logs kept in pieces as a provider that forgets had them. Their ends
have them read by a worker of the site's own; the first answers, while that goes on, say so. The baseline reads the same
logs plainly, one pattern a figure, and writes every point as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import httpx

from bench.stack import Figure, Stack, print_table, running_stack

TARGET_MS = 1000
JOBS = 5
PIECE = 100_000
READ_SECONDS = 600.0
LINE = (
    "Epoch 1/1, Steps:  {percent}%|####      | {step}/{steps} [{clock}<10:00,  4.0it/s, lr={rate:.2e}, "
    "step_loss={loss:.4f}]\n"
)
STEP = re.compile(r"\| (\d+)/")
LOSS = re.compile(r"step_loss=([\d.]+)")
RATE = re.compile(r"lr=([\d.e+-]+)")


def log_of(steps: int, number: int) -> str:
    return "".join(
        LINE.format(
            percent=100 * step // steps,
            step=step,
            steps=steps,
            clock=f"{step // 14400:02d}:{step // 240 % 60:02d}:{step // 4 % 60:02d}",
            rate=1e-4 * number,
            loss=0.1 + step * number % 977 / 1000,
        )
        for step in range(1, steps + 1)
    )


def make_job(user: Any, text: str, number: int) -> str:
    from django.utils import timezone

    from jobs.models import Job, LogPiece, Membership

    now = timezone.now()
    job = Job.objects.create(
        organization=Membership.objects.get(user=user).organization, submitted_by=user, correlation_id="bench",
        provider="replicate", external_id=f"bench-{number}", config_name=f"bench-{number}", status="completed",
        config={"learning_rate": 1e-4 * number, "max_train_steps": 100_000}, started_at=now, completed_at=now,
        log_size=len(text),
    )  # fmt: skip
    LogPiece.objects.bulk_create(
        LogPiece(job=job, start=start, end=min(start + PIECE, len(text)), text=text[start : start + PIECE])
        for start in range(0, len(text), PIECE)
    )
    return job.pk


def plainly(ids: list[str]) -> str:
    from jobs.models import LogPiece

    answer = {}
    for job_id in ids:
        text = "".join(LogPiece.objects.filter(job=job_id).values_list("text", flat=True))
        lines = text.splitlines()
        found = [(STEP.search(line), LOSS.search(line), RATE.search(line)) for line in lines]
        answer[job_id] = [
            (int(step[1]), float(loss[1]), float(rate[1])) for step, loss, rate in found if step and loss and rate
        ]
    return json.dumps(answer)


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Return milliseconds, and the result."""
    began = time.perf_counter()
    result = act()
    return (time.perf_counter() - began) * 1000, result


def ask(client: httpx.Client, address: str) -> httpx.Response:
    response = client.get(address)
    response.raise_for_status()
    return response


def figures(stack: Stack, steps: int, rounds: int) -> Iterator[Figure]:
    from django.contrib.auth.models import User

    key = stack.make_member("alice", "researcher")
    user = User.objects.get(username="alice")
    ids = [make_job(user, log_of(steps, number), number) for number in range(1, JOBS + 1)]
    query = "&".join(f"id={job_id}" for job_id in ids)
    with stack.client(key) as client:
        address = f"/api/cloud/jobs/compare?{query}"
        first, _ = timed(lambda: ask(client, address))
        began = time.perf_counter()
        stack.until(lambda: _is_read(client, address), READ_SECONDS)
        read = time.perf_counter() - began
        answers = [timed(lambda: ask(client, address)) for _ in range(rounds)]
    size = len(answers[0][1].content)
    plain, _ = timed(lambda: plainly(ids))
    yield Figure(f"the first answer, {JOBS} logs of {steps:,} unread", first, "ms", target=TARGET_MS)
    yield Figure("until the workers have read them", read, "s")
    yield Figure("an answer after that", median(took for took, _ in answers), "ms", baseline=plain, target=TARGET_MS)
    yield Figure("its size", size / 1e3, "kB")
    yield Figure("the page", _page(stack, user, query, rounds), "ms", target=TARGET_MS)


def _is_read(client: httpx.Client, address: str) -> bool:
    time.sleep(1)
    return not any(job["is_being_read"] for job in ask(client, address).json()["jobs"])


def _page(stack: Stack, user: Any, query: str, rounds: int) -> float:
    from tests.web import session_cookies

    with httpx.Client(base_url=stack.url, cookies=session_cookies(user), timeout=60) as client:
        return median(timed(lambda: ask(client, f"/jobs/compare?{query}"))[0] for _ in range(rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with running_stack() as stack:
        found = list(figures(stack, options.steps, options.rounds))
    return print_table("Five jobs compared; medians", found)


if __name__ == "__main__":
    sys.exit(main())
