"""A provider that keeps its trainings in memory and misbehaves on request, for tests of what stands around one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudtrain_site.encryption import SecretScrubber
from jobs.providers.base import NO_SECRETS, Handle, LogSlice, ProviderError, Snapshot, TrainingSpec
from jobs.providers.clusters.view import ClusterView, Node
from jobs.statuses import JobStatus


@dataclass
class ScriptedProvider:
    """Accepts what it gets; `refusals` are raised first, one a submission; `lose_answers` creates and then fails."""

    name: str = "scripted"
    label: str = "Scripted"
    once_per_marker: bool = False
    bound_to_machine: bool = False
    refusals: list[Exception] = field(default_factory=list)
    lose_answers: int = 0
    trainings: dict[str, Snapshot] = field(default_factory=dict)
    specs: list[TrainingSpec] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    answers: dict[str, Snapshot | ProviderError] = field(default_factory=dict)

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        self.specs.append(spec)
        if self.refusals:
            raise self.refusals.pop(0)
        snapshot = Snapshot(external_id=f"x-{len(self.specs)}", status=JobStatus.QUEUED)
        self.trainings[spec.marker] = snapshot
        if self.lose_answers:
            self.lose_answers -= 1
            raise ProviderError("the connection broke before the answer came")
        return snapshot

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        return {marker: self.trainings[marker] for marker in markers if marker in self.trainings}

    async def fetch(self, handles: Sequence[Handle]) -> Mapping[str, Snapshot | ProviderError]:
        return {handle.job_id: self.answers[handle.job_id] for handle in handles if handle.job_id in self.answers}

    async def cancel(self, handle: Handle) -> None:
        self.cancelled.append(handle.external_id)

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        return LogSlice(text="", start=start, end=start, complete=False)

    async def delete_files(self, handle: Handle) -> None:
        self.trainings = {
            key: value for key, value in self.trainings.items() if value.external_id != handle.external_id
        }

    async def validate(self) -> str:
        return "It would take a job."

    def hardware(self) -> Sequence[str]:
        return ("cpu", "gpu")


def node(name: str = "node-1", **fields: Any) -> Node:
    """A usable node with two free GPUs, or what the test says."""
    usual = {"state": "idle", "is_usable": True, "cpus": 8, "memory_mb": 64_000, "gpus": 2, "free_gpus": 2}
    return Node(name, **{**usual, **fields})


@dataclass
class ClusterProvider(ScriptedProvider):
    """A scripted provider on a cluster: `view` is what a look shows, or the error that it raises."""

    name: str = "lab"
    label: str = "Lab"
    view: ClusterView | Exception = field(default_factory=lambda: ClusterView("1.0", (node(),)))
    #: False: a look never ends.
    answers_at_once: bool = True
    looks: int = 0

    async def look(self) -> ClusterView:
        self.looks += 1
        if not self.answers_at_once:
            await asyncio.Event().wait()
        if isinstance(self.view, Exception):
            raise self.view
        return self.view
