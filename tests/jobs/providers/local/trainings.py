"""Trainings for the tests: real processes in a folder of the test's, all ended with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jobs.identifiers import new_job_id, new_marker
from jobs.providers.base import Handle, Snapshot, TrainingSpec
from jobs.providers.local.provider import LocalProvider
from jobs.providers.runner import records
from jobs.statuses import TERMINAL
from tests.wait import wait_until

T = TypeVar("T")

#: Trains until it is stopped, and says when it is up.
ENDLESS = "import signal; print('up', flush=True); signal.pause()"
#: The same, deaf to SIGTERM.
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
#: Saves on SIGTERM, as good trainers do.
SAVING = (
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print('up', flush=True);"
    "signal.sigwait({15}); print('saved', flush=True)"
)


def until(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """What `condition` says as soon as that is true; fails at the deadline."""
    return wait_until(condition, seconds)


class Trainings:
    """Local providers over one data folder, and the jobs submitted to them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.jobs = data_dir / "jobs"

    def provider(self, code: str = "", *, command: list[str] | None = None, grace: float = 10.0) -> LocalProvider:
        """A new provider that trains with `code`, as another process of ours would have it."""
        return LocalProvider(self.data_dir, command or ["{python}", "-S", "-c", code], grace)

    def start(self, code: str = "", *, text: str = "", spec: TrainingSpec | None = None, **options: Any) -> Handle:
        """Submit a job, and wait until its log has `text`."""
        spec = spec or make_spec()
        snapshot = asyncio.run(self.provider(code, **options).submit(spec))
        handle = Handle(spec.job_id, snapshot.external_id)
        until(lambda: text in self.log(handle))
        return handle

    def fetch(self, handle: Handle, *, grace: float = 10.0) -> Snapshot | None:
        answer = asyncio.run(self.provider(grace=grace).fetch([handle])).get(handle.job_id)
        assert answer is None or isinstance(answer, Snapshot), answer
        return answer

    def ended(self, handle: Handle, *, grace: float = 10.0) -> Snapshot:
        """The training's last snapshot, as soon as it has ended."""

        def look() -> Snapshot | None:
            snapshot = self.fetch(handle, grace=grace)
            return snapshot if snapshot and snapshot.status in TERMINAL else None

        snapshot = until(look)
        assert snapshot
        return snapshot

    def cancel(self, handle: Handle, *, grace: float = 10.0) -> None:
        asyncio.run(self.provider(grace=grace).cancel(handle))

    def folder(self, handle: Handle) -> Path:
        return self.jobs / handle.job_id

    def log(self, handle: Handle) -> str:
        with suppress(FileNotFoundError):
            return (self.folder(handle) / "train.log").read_text(errors="replace")
        return ""

    def record(self, handle: Handle, name: str = "process.json") -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder(handle) / name).read_text())
        return record

    def forge(self, handle: Handle, **changes: Any) -> None:
        """Change the start record in both its places, as time or another machine would."""
        self.write_start(handle, json.dumps({**self.record(handle), **changes}))

    def write_start(self, handle: Handle, text: str) -> None:
        for path in (self.folder(handle) / records.CLAIM, self.jobs / records.CLAIMS / handle.job_id):
            path.write_text(text)

    def pid(self, handle: Handle, whose: str) -> int:
        pid: int = self.record(handle)[whose]["pid"]
        return pid

    def kill(self, handle: Handle, whose: str) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.pid(handle, whose)
        os.kill(pid, signal.SIGKILL)
        until(lambda: records.start_time(pid) is None)

    def end_all(self) -> None:
        for pid in list(processes_of(self.jobs)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not list(processes_of(self.jobs)))


def make_spec(**fields: Any) -> TrainingSpec:
    defaults: dict[str, Any] = {
        "job_id": new_job_id(),
        "config": {"max_train_steps": 10},
        "dataloader_config": [{"id": "pictures"}],
        "hardware_profile": "cpu",
        "marker": new_marker(),
        "correlation_id": "test-correlation",
    }
    return TrainingSpec(**{**defaults, **fields})


def processes_of(jobs: Path) -> Iterator[int]:
    """Every process that works in a job's folder, whoever started it."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").resolve().is_relative_to(jobs.resolve()):
                yield int(entry.name)


def of_job(job_id: str) -> list[int]:
    """Every process that inherited the job's environment, wherever it is."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if job_id in _environment(path)]


def _environment(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""
