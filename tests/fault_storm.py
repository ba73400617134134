"""A site in a storm: Replicate answers badly, webhooks get lost, and the workers are killed every few seconds.

`running_storm` starts the real commands beside a fake Replicate in a process of its own. `Storm.pass_over` sees the
jobs through: it kills, does what a person at the queue does, and returns when every job has ended. In a hurry it also
lets the minutes pass in which nothing happens: those of a dead dispatcher's lease, and those before a person is asked.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from examples.fake_replicate.process import FakeReplicateProcess
from jobs.models import ProviderConfig
from jobs.providers.replicate.predictions import markers_in
from jobs.statuses import TERMINAL
from tests.cloudtrain_site.process_stacks import Stack, running_stack
from tests.site import Site, let_all_run, make_people
from tests.wait import wait_until

#: What goes wrong, and how often. Predictions break too, so that not all jobs end alike.
FAULTS = {
    "server_error": 0.05,
    "hang": 0.02,
    "throttle": 0.02,
    "drop_reply": 0.05,
    "lose": 0.1,
    "duplicate": 0.1,
    "reorder": 0.1,
    "interrupted": 0.05,
    "out_of_memory": 0.05,
    "canceled": 0.05,
    "aborted": 0.05,
}
ENDS = {"succeeded": "completed", "failed": "failed", "canceled": "cancelled", "aborted": "cancelled"}
IMPATIENT = """
background:
  job_status_polling: {enabled: true, interval_seconds: 2}
  queue_processing: {interval_seconds: 1}
"""
#: Of a second, in US dollars.
PRICE = Decimal("0.001525")
CONFIG = {"max_train_steps": 100, "learning_rate": 1e-4}

OPEN = "SELECT count(*) FROM jobs_job WHERE status NOT IN ('completed', 'failed', 'cancelled')"
SLOTS = "SELECT count(*) FROM queueing_queueentry WHERE claim_token IS NOT NULL"
JOBS = "SELECT id, status, external_id, submission_marker FROM jobs_job ORDER BY id"
HISTORY = "SELECT job_id, subject, old, new, at FROM jobs_jobevent ORDER BY id"
UNCONFIRMED = """
    SELECT job.id, job.submission_marker FROM queueing_queueentry entry JOIN jobs_job job ON job.id = entry.job_id
    WHERE entry.status = 'dispatching' AND entry.unconfirmed_at IS NOT NULL
"""


def prepare() -> None:
    """Set the site up and print the people's keys: to be run by a process of the site."""
    let_all_run(40)
    settings: dict[str, Any] = {
        "webhook_url": os.environ["STORM_WEBHOOKS"],
        "silence_minutes": 1,
        "default_hardware": "h100",
    }
    settings["cost_per_second"] = {"h100": str(PRICE)}
    ProviderConfig.objects.update_or_create(name="replicate", defaults=settings)
    make_people()


@dataclass
class StormySite(Site):
    """A site that trains on a Replicate which isn't well."""

    fake: FakeReplicateProcess | None = None

    @property
    def environment(self) -> dict[str, str]:
        assert self.fake is not None
        own = {"REPLICATE_BASE_URL": self.fake.url, "REPLICATE_API_TOKEN": self.fake.token}
        return {**super().environment, **own, "STORM_WEBHOOKS": f"http://127.0.0.1:{self.port}"}

    def free_rows(self, table: str, condition: str) -> str:
        """The condition, without rows that somebody is changing: whoever waits for several may be waited for."""
        if not self.database_url:
            return condition  # SQLite has one writer at a time
        return f"id IN (SELECT id FROM {table} WHERE {condition} FOR UPDATE SKIP LOCKED)"

    def execute(self, sql: str, *values: str) -> None:
        """Change something in its database; `?` stands for a value."""
        if self.database_url:
            with psycopg.connect(self.database_url) as connection:
                connection.execute(sql.replace("?", "%s"), values)
        else:
            with sqlite3.connect(self.folder / "data" / "cloudtrain.sqlite3", timeout=10) as database:
                database.execute(sql, values)


@dataclass
class Storm:
    """What is going on, and what was seen of it."""

    site: StormySite
    fake: FakeReplicateProcess
    kill_seconds: float
    in_a_hurry: bool
    kills: int = 0
    resubmitted: int = 0
    #: What every third job may cost at most, in US dollars; None: they have no limit.
    limit: float | None = None
    #: Whoever was dispatching before this is dead.
    killed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _kill_limit: int | None = None
    _next_kill: float = 0.0

    def submit(self, count: int) -> None:
        """Have alice submit so many jobs."""
        for number in range(count):
            body: dict[str, Any] = {"config": CONFIG, "config_name": f"storm-{number}", "hardware_profile": "h100"}
            if self.limit is not None and number % 3 == 0:
                body["max_cost_usd"] = self.limit
            self.site.post("alice", "/api/cloud/jobs/submit?provider=replicate", body)

    def pass_over(self, seconds: float, kills: int | None = None) -> None:
        """Return when every job has ended and given its slot back; raise TimeoutError when that takes too long."""
        self._kill_limit, self._next_kill = kills, time.monotonic() + self.kill_seconds
        try:
            wait_until(self._is_over, seconds)
        except TimeoutError:
            message = f"after {seconds:.0f} s {self._count(OPEN)} jobs are open: {self.site.query(JOBS)}"
            raise TimeoutError(message) from None

    def _is_over(self) -> bool:
        """Whether nothing is left to wait for; if not, the storm goes on a little."""
        if not (self._count(OPEN) or self._count(SLOTS)):
            return True
        if time.monotonic() > self._next_kill and (self._kill_limit is None or self.kills < self._kill_limit):
            self.kill()
            self._next_kill = time.monotonic() + self.kill_seconds
        if self.in_a_hurry:
            self.let_time_pass()
        self.look_at_the_provider()
        return False

    def _count(self, sql: str) -> int:
        rows = self.site.query(sql)
        return int(rows[0][0]) if rows else 1

    def kill(self) -> None:
        """End the background with SIGKILL, its workers too, in the middle of whatever they do."""
        background = self.site.named("background")
        for pid in {*background, *self.site.living_workers()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kills += 1
        self.killed_at = datetime.now(UTC)

    def let_time_pass(self) -> None:
        """As if ten minutes had gone by for whoever waits, but not for a call that is under way."""
        then, killed = _stamp(datetime.now(UTC) - timedelta(minutes=11)), _stamp(self.killed_at)
        waits = "status = 'dispatching' AND (last_error <> '' OR dispatched_at < ?)"
        waits = self.site.free_rows("queueing_queueentry", waits)
        self.site.execute(
            f"UPDATE queueing_queueentry SET lease_until = ?, dispatched_at = ? WHERE {waits}", then, then, killed
        )
        self.site.execute("UPDATE queueing_queueentry SET not_before = NULL WHERE not_before IS NOT NULL")
        self.site.execute("UPDATE jobs_providerconfig SET outage_until = NULL WHERE outage_until IS NOT NULL")
        silent = self.site.free_rows("jobs_job", "status IN ('queued', 'running') AND queued_at < ?")
        lately = _stamp(datetime.now(UTC) - timedelta(seconds=5))
        self.site.execute(f"UPDATE jobs_job SET last_synced_at = ? WHERE {silent}", then, lately)

    def look_at_the_provider(self) -> None:
        """What a person does about unconfirmed jobs: look, and have those submitted again that are not there."""
        unconfirmed = dict(self.site.query(UNCONFIRMED))
        if not unconfirmed:
            return
        there = {marker for made in self.fake.predictions() for marker in markers_in(made)}
        for job_id, marker in unconfirmed.items():
            if marker not in there:
                answer = self.site.clients["bob"].post(f"/api/queue/{job_id}/resubmit", json={"reason": "not there"})
                self.resubmitted += answer.is_success

    def verdicts(self) -> list[str]:
        """What is wrong with any job, one sentence each."""
        made: dict[str, list[dict[str, Any]]] = {}
        for prediction in self.fake.predictions():
            for marker in markers_in(prediction):
                made.setdefault(marker, []).append(prediction)
        wrong = [f"{job[0]}: {text}" for job in self.site.query(JOBS) if (text := _difference(job, made))]
        return [*wrong, *_disorder(self.site.query(HISTORY))]

    def calm(self) -> None:
        """Let everything go well from now on."""
        self.fake.spoil(calm=True)


def _stamp(at: datetime) -> str:
    """As both databases compare it with what they have."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f") + ("+00" if os.environ.get("DATABASE_URL") else "")


def _difference(job: tuple[Any, ...], made: dict[str, list[dict[str, Any]]]) -> str:
    """How the job differs from what the fake holds; empty when it is what its one prediction is."""
    _, status, external_id, marker = job
    found = made.get(marker, [])
    if len(found) != 1:
        return f"it has {len(found)} predictions"
    (prediction,) = found
    if prediction["id"] != external_id:
        return f"it is {external_id}, its prediction {prediction['id']}"
    return "" if ENDS.get(prediction["status"]) == status else f"{status}, but its prediction {prediction['status']}"


def _disorder(history: list[tuple[Any, ...]]) -> list[str]:
    """Histories that don't read in order: each move begins where the one before ended, never earlier, none after
    the end."""
    by_subject: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for job_id, subject, old, new, at in history:
        by_subject.setdefault((job_id, subject), []).append((old, new, at))
    wrong = []
    for (job_id, subject), moves in by_subject.items():
        if moves[0][0] != "" or moves[-1][1] not in TERMINAL:
            wrong.append(f"{job_id}: the history of its {subject} is not whole: {moves}")
        wrong += [
            f"{job_id}: the history of its {subject} jumps from {first} to {second}"
            for first, second in pairwise(moves)
            if first[1] != second[0] or first[1] in TERMINAL or first[2] > second[2]
        ]
    return wrong


@contextmanager
def running_storm(
    folder: Path, template: Stack | None = None, *, kill_seconds: float, in_a_hurry: bool, script: str = "1,2"
) -> Iterator[Storm]:
    """A site and its fake Replicate, well for now; afterwards nothing of them is left."""
    with (
        FakeReplicateProcess.start("--script", script, "--latency-ms", "20") as fake,
        running_stack(folder, template) as stack,
    ):
        site = StormySite(stack.folder, stack.database_url, stack.mark, stack.started, fake=fake)
        site.config.write_text(IMPATIENT if in_a_hurry else "")
        try:
            site.ensure_up()
            site.make_people(prepare)
            yield Storm(site, fake, kill_seconds, in_a_hurry)
        finally:
            site.end()
