"""Folders, logs, records and processes of trainings vanish on a running site: none of its jobs runs for ever.

`CLOUDTRAIN_VANISHING_JOBS=300` makes it the real thing; `CLOUDTRAIN_VANISHING_SEED` repeats one of its dice.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.runner import records
from jobs.statuses import TERMINAL
from tests.cloudtrain_site.process_stacks import Stack, migrated  # noqa: F401
from tests.fault_storm import OPEN, SLOTS
from tests.jobs.providers.local.trainings import of_job
from tests.site import Site, let_all_run, make_people, running_site
from tests.wait import wait_until

JOBS = int(os.environ.get("CLOUDTRAIN_VANISHING_JOBS", "40"))
SEED = int(os.environ.get("CLOUDTRAIN_VANISHING_SEED", "15"))
SLOT_COUNT, MAX_OPEN = 8, 60
SECONDS = 60 + JOBS
#: Trains for about a second, and leaves a process in a session of its own.
TRAINER = "import os, time; print('Step 1/2', flush=True); time.sleep(1); os.fork() or (os.setsid(), time.sleep(600))"
CONFIG = {
    "background": {"job_status_polling": {"interval_seconds": 1}, "queue_processing": {"interval_seconds": 1}},
    "providers": {
        "local": {"command": ["{python}", "-S", "-c", TRAINER], "max_running": SLOT_COUNT, "grace_seconds": 1}
    },
}
#: What vanishes, of a job's folder and of its processes.
LOSSES = (
    *("nothing", "folder", "log", "claim", "draft", "link", "runner", "trainer", "runner+trainer"),
    *("folder+runner", "folder+trainer", "folder+runner+trainer", "claim+runner", "claim+runner+trainer"),
)
ENDS = "SELECT id, status, created_at, queued_at, started_at, completed_at FROM jobs_job"


def prepare() -> None:
    """Let everybody run many jobs, and print the people's keys: to be run by a process of the site."""
    let_all_run(SLOT_COUNT)
    make_people()


@dataclass
class Loss:
    """What one training loses, and how long after its start; `at` is when that was."""

    parts: str
    delay: float
    processes: dict[str, int] = field(default_factory=dict)
    seen_at: float = 0.0
    at: datetime | None = None

    def strike(self, jobs: Path, job_id: str) -> None:
        """Look for the start, and once its time has come do what was diced."""
        folder = jobs / job_id
        if not self.processes:
            with suppress(OSError):
                record = json.loads((folder / records.CLAIM).read_text())
                self.processes = {whose: record[whose]["pid"] for whose in ("runner", "trainer")}
                self.seen_at = time.monotonic()
        elif self.at is None and time.monotonic() > self.seen_at + self.delay:
            for part in self.parts.split("+"):
                self._lose(part, jobs, folder)
            self.at = datetime.now(UTC)

    def _lose(self, part: str, jobs: Path, folder: Path) -> None:
        paths = {"log": [folder / records.LOG], "claim": [folder / records.CLAIM], "draft": folder.glob("exit.json.*")}
        paths["link"] = [jobs / records.ACTIVE / folder.name]
        for path in paths.get(part, ()):
            path.unlink(missing_ok=True)
        if part == "folder":
            shutil.rmtree(folder, ignore_errors=True)
        if part in self.processes:
            with suppress(ProcessLookupError):
                os.kill(self.processes[part], signal.SIGKILL)


@pytest.fixture
def site(tmp_path: Path, migrated: Stack) -> Iterator[Site]:  # noqa: F811
    with running_site(tmp_path, migrated, config=json.dumps(CONFIG), prepare=prepare) as site:
        yield site


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 60)
def test_none_is_running_for_ever(site: Site) -> None:
    dice = random.Random(SEED)
    sys.stdout.write(f"CLOUDTRAIN_VANISHING_SEED={SEED}\n")
    losses: dict[str, Loss] = {}

    def is_over() -> bool:
        is_open = site.query(OPEN)[0][0]
        while len(losses) < JOBS and is_open < MAX_OPEN:
            losses[site.submit("bob")] = Loss(dice.choice(LOSSES), dice.uniform(0, 1.5))
            is_open += 1
        for job_id, loss in losses.items():
            loss.strike(site.jobs, job_id)
        return len(losses) == JOBS and not is_open and not site.query(SLOTS)[0][0]

    wait_until(is_over, SECONDS)
    rows = {row[0]: row[1:] for row in site.query(ENDS)}
    assert [job_id for job_id, (_, *times) in rows.items() if times != sorted(times)] == []
    statuses = Counter((losses[job_id].parts, status) for job_id, (status, *_) in rows.items())
    sys.stdout.write(f"{dict(statuses)}, at most {longest_seconds(losses, rows):.1f} s from a vanishing to the end\n")
    assert set(losses) == set(rows)
    assert {status for _, status in statuses} <= set(TERMINAL)
    assert {status for parts, status in statuses if parts in ("nothing", "log", "draft", "link")} == {"completed"}
    processes = [pid for loss in losses.values() for pid in loss.processes.values()]
    assert [pid for pid in processes if records.start_time(pid) is not None] == []
    # What the trainers left behind is gone where their supervisor was left alone.
    assert [job_id for job_id, loss in losses.items() if "runner" not in loss.parts and of_job(job_id)] == []


def longest_seconds(losses: dict[str, Loss], rows: dict[str, Any]) -> float:
    """The longest time from the moment that all of a training was gone to its job's end."""
    gone = {job_id: loss.at for job_id, loss in losses.items() if loss.parts.endswith("runner+trainer") and loss.at}
    return max((as_time(rows[job_id][-1]) - at).total_seconds() for job_id, at in gone.items())


def as_time(stored: Any) -> datetime:
    """A moment as SQLite or PostgreSQL has it."""
    return stored if isinstance(stored, datetime) else datetime.fromisoformat(stored).replace(tzinfo=UTC)
