"""The provider that trains on a Slurm cluster, over slurmrestd and a folder that the site shares with the nodes.

A training's external id is its marker, which is its job's name at Slurm. Slurm's own number stands in the metadata: it
would not do, since Slurm gives it a second time when its controller is killed within some seconds of a submission
(measured). More than one Slurm job may come of a marker, by an answer that was lost; the first that begins trains, and
the others refuse (script.py). That makes it safe to submit again what Slurm has lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cloudtrain_site.conf.providers import HardwareProfile, SlurmInstance
from cloudtrain_site.encryption import SecretScrubber
from jobs.providers import instance_of
from jobs.providers.base import (
    NO_SECRETS,
    Answers,
    DiscoveredTraining,
    Handle,
    LogSlice,
    ProviderError,
    Snapshot,
    TrainingSpec,
)
from jobs.providers.clusters.training_folder import DATASETS, folder_errors, require
from jobs.providers.clusters.view import ClusterView
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.providers.local import dataset, log
from jobs.providers.slurm import answers, fetch, identity, nodes, script, shapes
from jobs.providers.slurm import folder as shared
from jobs.providers.slurm.access import SlurmError
from jobs.providers.slurm.folder import SharedFolder
from jobs.statuses import ACTIVE, JobStatus

if TYPE_CHECKING:
    from jobs.providers.slurm.client import Connection

logger = logging.getLogger("simpletuner.cloud.providers")

#: Without the operator's own, the limit is so many times the estimate's upper end, and at least an hour.
LIMIT_FACTOR = 3
LEAST_LIMIT_MINUTES = 60


class SlurmProvider:
    """Runs each training as one batch job."""

    staging = "Unpacking dataset"
    once_per_marker = True
    bound_to_machine = False

    def __init__(self, instance: SlurmInstance) -> None:
        assert instance.shared_folder is not None
        self.instance = instance
        self.name = instance.name
        self.label = instance.label
        self.shared: Path = instance.shared_folder

    @classmethod
    def from_settings(cls, name: str) -> Self:
        """Build it from the configuration file, without a query. Raises UnknownProviderError."""
        instance = instance_of(name)
        assert isinstance(instance, SlurmInstance)
        return cls(instance)

    def _connect(self) -> Connection:
        # Loaded with the first request: httpx and aiohttp are 12 MB, which other processes save.
        from jobs.providers.slurm.client import Connection

        return Connection(self.instance)

    # Submitting.

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        """Submit the job, or return the training that it has had."""
        profile = self._profile(spec.hardware_profile)
        may_have_job = await asyncio.to_thread(self._prepare, spec, profile)
        if may_have_job is None:
            found = await self.find_by_marker([spec.marker])
            return found.get(spec.marker) or Snapshot(spec.marker, JobStatus.QUEUED)
        try:
            async with self._connect() as slurm:
                return await self._send(slurm, spec, profile)
        except ProviderError as error:
            if error.nothing_created and not may_have_job:
                await asyncio.to_thread(SharedFolder(self.shared, spec.marker).forget_submission)
            raise

    async def _send(self, slurm: Connection, spec: TrainingSpec, profile: HardwareProfile) -> Snapshot:
        try:
            body = shapes.write_submission(self._submission(spec, profile), await slurm.version())
        except SlurmError as error:
            error.nothing_created = True
            raise
        await asyncio.to_thread(self._keep_submission, spec.marker, body)
        return await fetch.submit(slurm, spec.marker, body)

    def _profile(self, name: str) -> HardwareProfile:
        profile = self.instance.hardware.get(name or self.hardware()[0])
        if profile is None:
            raise ProviderError(
                f"{self.label} has no hardware “{name}”. It has {', '.join(self.hardware())}.",
                permanent=True,
                nothing_created=True,
            )
        return profile

    def _prepare(self, spec: TrainingSpec, profile: HardwareProfile) -> bool | None:
        """Write the job's folder. Returns whether an earlier submission may have made a job.

        None: a training has begun, and what it reads is left as it is.
        """
        require(self.shared)
        owner = shared.account(self.instance.user)
        folder = SharedFolder(self.shared, spec.marker)
        with folder_errors(nothing_created=True):
            if answers.Records.of(folder).has_begun:
                return None
            may_have_job = folder.was_submitted()
            (self.shared / shared.SIGN).touch()
            folder.prepare_run(script.files(spec, self.instance, profile), owner)
        return may_have_job

    def _keep_submission(self, marker: str, body: Mapping[str, Any]) -> None:
        with folder_errors(nothing_created=True):
            SharedFolder(self.shared, marker).keep_submission(body)

    def _submission(self, spec: TrainingSpec, profile: HardwareProfile) -> shapes.Submission:
        path = SharedFolder(self.shared, spec.marker).path
        return shapes.Submission(
            name=spec.marker,
            comment=identity.comment_of(spec.marker),
            script=script.batch_script(path, self.instance.python, profile),
            folder=str(path),
            environment=script.ENVIRONMENT,
            nodes=profile.nodes,
            cpus=profile.cpus,
            memory_mb=profile.memory_mb,
            gpus=profile.gpus,
            gpu_type=profile.gpu_type,
            partition=profile.partition,
            account=self.instance.account,
            qos=self.instance.qos,
            time_limit_minutes=time_limit(profile, spec.estimated_seconds),
        )

    # Looking.

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        """Look in Slurm's list, and then for what ended jobs left on the shared folder."""
        async with self._connect() as slurm:
            jobs = await fetch.list_jobs(slurm)
        return await asyncio.to_thread(fetch.find, self.shared, list(markers), jobs, self.instance.user)

    async def fetch(self, handles: Sequence[Handle]) -> Answers:
        if not handles:
            return {}
        async with self._connect() as slurm:
            return await fetch.fetch(slurm, self.shared, handles)

    async def recent(self, limit: int) -> Sequence[DiscoveredTraining]:
        """Return the jobs of our account, whoever submitted them."""
        async with self._connect() as slurm:
            jobs = [job for job in await fetch.list_jobs(slurm) if job.user == self.instance.user and job.submitted_at]
        jobs.sort(key=lambda job: job.job_id, reverse=True)
        found: dict[str, DiscoveredTraining] = {}
        for job in jobs:
            training = identity.discovered(job, self.instance.user)
            found.setdefault(training.snapshot.external_id, training)
        return list(found.values())[:limit]

    async def look(self) -> ClusterView:
        await asyncio.to_thread(shared.check, self.shared, self.instance.user)
        async with self._connect() as slurm:
            version = await slurm.version()
            body, partitions = await asyncio.gather(slurm.get("/nodes"), slurm.get("/partitions"))
        return nodes.view_of(
            shapes.read_version(body),
            shapes.read_nodes(body),
            shapes.read_partitions(partitions),
            self.instance.hardware,
            [_untested(version)] if version != shapes.TESTED_VERSION else [],
        )

    async def validate(self) -> str:
        view = await self.look()
        gpus = sum(node.gpus for node in view.nodes if node.is_usable)
        usable = sum(node.is_usable for node in view.nodes)
        sentences = [
            f"Slurm {view.version} takes jobs of {self.instance.user}.",
            f"{usable} of {len(view.nodes)} nodes can be used, with {gpus} GPU{'' if gpus == 1 else 's'}.",
            *(f"{name}: {reason}" for name, reason in view.unrunnable.items()),
            *view.warnings,
        ]
        return " ".join(sentences)

    def hardware(self) -> Sequence[str]:
        return tuple(self.instance.hardware)

    # Ending, and what a training leaves.

    async def cancel(self, handle: Handle) -> None:
        """Let Slurm end the job: SIGTERM to all its processes, and SIGKILL after the cluster's `KillWait`."""
        if identity.is_ours(handle):
            await asyncio.to_thread(self._request_cancel, handle.external_id)
        async with self._connect() as slurm:
            jobs = [job for job in await fetch.list_jobs(slurm) if identity.is_of(handle, job, self.instance.user)]
            for job in jobs:
                if answers.STATUSES.get(job.state) in ACTIVE:
                    await slurm.delete(f"/job/{job.job_id}")

    def _request_cancel(self, marker: str) -> None:
        """Leave word in the folder: a job of the same marker that begins later ends at once."""
        with folder_errors():
            SharedFolder(self.shared, marker).request_cancel()

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        return await asyncio.to_thread(self._read_log, handle, start, limit, scrubber)

    def _read_log(self, handle: Handle, start: int, limit: int, scrubber: SecretScrubber) -> LogSlice:
        if not identity.is_ours(handle):
            raise ProviderError("The job was created at the cluster; its log is there.", permanent=True)
        folder = SharedFolder(self.shared, handle.external_id)
        with folder_errors():
            shared.require_ours(self.shared)
            # Read before the log: lines written in between would be missed.
            has_ended = folder.run().ended_at is not None
            return log.read_slice(folder.log, start=start, limit=limit, ended=has_ended, scrubber=scrubber)

    def may_resume(self) -> bool:
        return True

    def output_folder(self, handle: Handle) -> Path | None:
        return SharedFolder(self.shared, handle.external_id).output if identity.is_ours(handle) else None

    async def delete_files(self, handle: Handle) -> None:
        await asyncio.to_thread(self._delete_files, handle)

    def _delete_files(self, handle: Handle) -> None:
        with folder_errors():
            if identity.is_ours(handle):
                folder = SharedFolder(self.shared, handle.external_id)
                folder.remove()
                log.stop_following(folder.log)
            dataset.remove(self.shared / DATASETS, handle.job_id)

    def remove_log(self, handle: Handle) -> bool:
        if not identity.is_ours(handle):
            return False
        folder = SharedFolder(self.shared, handle.external_id)
        with folder_errors():
            shared.require_ours(self.shared)
            if not folder.exists() or folder.path.is_symlink():
                return False
            folder.log.unlink(missing_ok=True)
        log.stop_following(folder.log)
        return True

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        return await asyncio.to_thread(self._stage, transfer, progress)

    def _stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        """Unpack the dataset on the shared folder, for the account that trains."""
        require(self.shared)
        owner = shared.account(self.instance.user)
        with folder_errors(nothing_created=True):
            folder = shared.make_dataset_folder(self.shared, transfer.job_id, owner)
            unpacked = dataset.unpack(folder, transfer, progress)
            shared.give_all(folder, owner)
        return RemoteCopy("", str(unpacked))


def time_limit(profile: HardwareProfile, estimated_seconds: float | None) -> int | None:
    """Return the minutes after which Slurm ends the job; None leaves it to the partition."""
    if profile.time_limit_minutes or estimated_seconds is None:
        return profile.time_limit_minutes
    return max(LEAST_LIMIT_MINUTES, round(LIMIT_FACTOR * estimated_seconds / 60) + 1)


def _untested(version: str) -> str:
    return f"Its API is {version}. Only {shapes.TESTED_VERSION} was tested; {version} follows its published schema."
