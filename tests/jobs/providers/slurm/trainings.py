"""Trainings on a real Slurm, as the site would have them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.identifiers import new_job_id, new_marker
from jobs.providers.base import Handle, Snapshot, TrainingSpec
from jobs.providers.slurm.provider import SlurmProvider
from jobs.statuses import TERMINAL, JobStatus
from tests.wait import wait_until

#: A job of Slurm's takes a second; beside other tests more.
PATIENCE_SECONDS = 40.0
#: Trains until it is stopped, and says when it is up.
ENDLESS = ("bash", "-c", "echo up; exec sleep 1000")
#: The same, deaf to SIGTERM.
STUBBORN = ("bash", "-c", "trap '' TERM; echo up; while true; do sleep 1; done")


@dataclass
class Training:
    """One training of a provider, with what the job keeps of it."""

    provider: SlurmProvider
    spec: TrainingSpec
    first: Snapshot
    metadata: dict[str, Any] = field(default_factory=dict)
    asked_at: datetime | None = None

    @property
    def handle(self) -> Handle:
        return Handle(
            self.spec.job_id,
            self.first.external_id,
            metadata=self.metadata,
            cancel_requested_at=self.asked_at,
        )

    @property
    def folder(self) -> Path:
        return self.provider.shared / self.spec.marker

    @property
    def number(self) -> int:
        return int(self.metadata["slurm_job_id"])

    def fetch(self) -> Snapshot | None:
        answer = asyncio.run(self.provider.fetch([self.handle])).get(self.spec.job_id)
        assert answer is None or isinstance(answer, Snapshot), answer
        self.metadata.update(answer.metadata if answer else {})
        return answer

    def seen(self, *statuses: JobStatus) -> Snapshot:
        """The first snapshot with one of the statuses."""

        def look() -> Snapshot | None:
            snapshot = self.fetch()
            return snapshot if snapshot and snapshot.status in statuses else None

        snapshot = wait_until(look, PATIENCE_SECONDS)
        assert snapshot
        return snapshot

    def ended(self) -> Snapshot:
        return self.seen(*TERMINAL)

    def cancel(self) -> None:
        self.asked_at = datetime.now(UTC)
        asyncio.run(self.provider.cancel(self.handle))

    def log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / "train.log").read_text(errors="replace")
        return ""

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log(), PATIENCE_SECONDS)

    def record(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder / name).read_text())
        return record


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


def submit(provider: SlurmProvider, spec: TrainingSpec | None = None) -> Training:
    spec = spec or make_spec()
    snapshot = asyncio.run(provider.submit(spec))
    return Training(provider, spec, snapshot, dict(snapshot.metadata))


def start(provider: SlurmProvider, text: str = "up", spec: TrainingSpec | None = None) -> Training:
    """Submit, and wait until the log has `text`."""
    training = submit(provider, spec)
    training.wait_for_log(text)
    return training


def fetch_all(trainings: Sequence[Training]) -> dict[str, Any]:
    return dict(asyncio.run(trainings[0].provider.fetch([training.handle for training in trainings])))


def with_profile(provider: SlurmProvider, **fields: Any) -> SlurmProvider:
    """The same cluster with another profile in place of the default."""
    name, profile = next(iter(provider.instance.hardware.items()))
    return SlurmProvider(replace(provider.instance, hardware={name: replace(profile, **fields)}))
