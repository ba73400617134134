"""What submissions, viewers and running jobs cost a site, and whether the model of bench/capacity.py adds them up.

    python -m bench.bench_capacity [--seconds 12]

The embedded default on SQLite, its queue paused; running jobs are those of a stand-in for Replicate. First each kind of
load by itself, for what one of it costs; then three mixtures of them, whose costs the model predicts before. Viewers
hold an event stream each, and ask for the list together, each once in ten seconds. All is processor time of the site's
own processes. To reach: a prediction is off by at most a fifth.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.bench_rest import family, is_web, processor_seconds
from bench.capacity import NAMES, READS_A_SECOND, Costs, Load
from bench.stack import ROOT, Figure, Stack, print_table, running_stack
from examples.fake_replicate.process import FakeReplicateProcess

POLL_SECONDS = 5
ALONE_A_SECOND = 3.0
STREAMS = 60
MIXTURES = (Load(1, 200, 20), Load(2, 500, 50), Load(4, 900, 100))
JOBS = MIXTURES[0].jobs
SETTLE_SECONDS = 6.0
MOST_OFF = 0.2


@dataclass
class Used:
    """Seconds of a core that the site needed, and what it did meanwhile."""

    seconds: float
    web: float
    background: float
    submissions: int = 0
    readings: int = 0


class Site:
    """The stack, and the load on it."""

    def __init__(self, stack: Stack, fake: FakeReplicateProcess) -> None:
        self.stack, self.fake = stack, fake
        self.key = stack.make_member("lead", "lead")
        config = json.loads((ROOT / "examples" / "flux-lora-quick.json").read_text())
        self.submission = {"config": config, "config_name": "bench"}

    def set_running(self, count: int) -> None:
        """Have so many jobs run at the provider, as many as before or more: what has cost something stays."""
        from django.utils import timezone

        from jobs.models import Job, Organization

        more = count - Job.objects.filter(provider="replicate").count()
        ids = self.fake.fill(more, model="simpletuner/advanced-trainer-h100", status="processing") if more else []
        now, team = timezone.now(), Organization.objects.get()
        fields = {"hardware_profile": "h100", "config": {"max_train_steps": 1000}, "correlation_id": "bench"}
        times = {"submission_started_at": now, "started_at": now, "status": "running", "organization": team}
        Job.objects.bulk_create(Job(provider="replicate", external_id=one, **times, **fields) for one in ids)

    @contextmanager
    def viewers(self, count: int) -> Iterator[None]:
        """Hold so many event streams open, and read what comes."""
        ends = threading.Event()
        with ExitStack() as opened:
            streams = [opened.enter_context(self._stream()) for _ in range(count)]
            reader = threading.Thread(target=_read, args=(streams, ends))
            reader.start()
            try:
                yield
            finally:
                ends.set()
                reader.join()

    def _stream(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.stack.port))
        head = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self.key}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 200 " in connection.recv(4096)
        connection.setblocking(False)
        return connection

    def use(self, seconds: float, submissions: float = 0.0, readings: float = 0.0) -> Used:
        """Submit and read so often a second, evenly, whatever the answers take. Returns what the site used."""
        time.sleep(SETTLE_SECONDS)
        counts = {"submissions": 0, "readings": 0}
        with self.stack.client(self.key) as client:
            works: list[tuple[str, float, Callable[[], Any]]] = [
                ("submissions", submissions, lambda: client.post("/api/cloud/jobs/submit", json=self.submission)),
                ("readings", readings, lambda: client.get("/api/cloud/jobs", params={"limit": 50})),
            ]
            web, background = self._spent()
            began = time.monotonic()

            def repeat(name: str, rate: float, work: Callable[[], Any]) -> None:
                while (due := began + counts[name] / rate) < began + seconds:
                    time.sleep(max(0.0, due - time.monotonic()))
                    assert work().is_success
                    counts[name] += 1

            threads = [threading.Thread(target=repeat, args=work) for work in works if work[1]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            after_web, after_background = self._spent()
        return Used(time.monotonic() - began, after_web - web, after_background - background, **counts)

    def _spent(self) -> tuple[float, float]:
        spent = {"web": 0.0, "background": 0.0}
        for pid in family(self.stack.process.pid):
            spent["web" if is_web(pid) else "background"] += processor_seconds(pid)
        return spent["web"], spent["background"]


def _read(streams: list[socket.socket], ends: threading.Event) -> None:
    while not ends.wait(0.1):
        for stream in streams:
            try:
                stream.recv(65536)
            except BlockingIOError:
                continue


def costs_of(site: Site, seconds: float) -> Costs:
    rest = site.use(seconds)
    alone = site.use(seconds, submissions=ALONE_A_SECOND)
    with site.viewers(STREAMS):
        watched = site.use(seconds, submissions=ALONE_A_SECOND)
    reading = site.use(seconds, readings=STREAMS * READS_A_SECOND)
    site.set_running(JOBS)
    polled = site.use(max(seconds, 3 * POLL_SECONDS))
    rest_web, rest_background = rest.web / rest.seconds, rest.background / rest.seconds

    def above(spent: float, resting: float, used: Used, count: float) -> float:
        return max(0.0, spent - resting * used.seconds) / count * 1000

    submission_web = above(alone.web, rest_web, alone, alone.submissions)
    return Costs(
        rest_web=rest_web * 1000,
        rest_background=rest_background * 1000,
        submission_web=submission_web,
        submission_background=above(alone.background, rest_background, alone, alone.submissions),
        delivery=max(0.0, above(watched.web, rest_web, watched, watched.submissions) - submission_web) / STREAMS,
        reading=above(reading.web, rest_web, reading, reading.readings),
        poll=above(polled.background, rest_background, polled, JOBS * polled.seconds / POLL_SECONDS),
    )


def figures(site: Site, seconds: float) -> Iterator[Figure]:
    site.use(seconds / 2, submissions=ALONE_A_SECOND, readings=ALONE_A_SECOND)  # loads what there is to load
    costs = costs_of(site, seconds)
    for field, name in NAMES.items():
        yield Figure(name, getattr(costs, field), "ms")
    for load in MIXTURES:
        site.set_running(load.jobs)
        with site.viewers(load.viewers):
            used = site.use(max(seconds, 3 * POLL_SECONDS), load.submissions, load.viewers * READS_A_SECOND)
        name = f"{load.submissions:.0f} submissions/s, {load.jobs} jobs, {load.viewers} viewers"
        predicted = costs.web(load) + costs.background(load, POLL_SECONDS)
        measured = (used.web + used.background) / used.seconds
        yield Figure(f"{name}: of a core", measured * 100, "%", predicted * 100)
        yield Figure("  prediction off by", abs(predicted / measured - 1), "", target=MOST_OFF)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=12.0)
    seconds = parser.parse_args().seconds
    with FakeReplicateProcess.start("--latency-ms", "20") as fake:
        os.environ.update(REPLICATE_BASE_URL=fake.url, REPLICATE_API_TOKEN=fake.token)
        polling = {"enabled": True, "interval_seconds": POLL_SECONDS}
        with running_stack(settings={"background": {"job_status_polling": polling}}) as stack:
            from jobs.models import ProviderConfig
            from queueing.models import QueueState

            ProviderConfig.objects.filter(name="replicate").update(enabled=True)
            QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
            found = list(figures(Site(stack, fake), seconds))
    return print_table("What each load costs, and mixtures; baseline: the model's prediction", found)


if __name__ == "__main__":
    sys.exit(main())
