"""The provider that trains on a Ray cluster, through the HTTP API of its dashboard.

The submission's id at Ray is our marker, which Ray takes once: a lost answer is settled by asking for that id. Ray
tells when a job was submitted and not when it ran, forgets its jobs when its head is restarted without a store, and
deletes a log with its node. So the runner records start and end, and we keep the log.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cloudtrain_site.conf.providers import RayInstance
from cloudtrain_site.encryption import SecretScrubber
from jobs.configs.reading import value_of
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
from jobs.providers.clusters.training_folder import DATASETS, TrainingFolder, folder_errors, probe
from jobs.providers.clusters.view import ClusterView
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.providers.local import dataset
from jobs.providers.ray import nodes, package, rows, submission
from jobs.providers.ray.client import Connection, RayError
from jobs.providers.ray.fetch import Fetcher
from jobs.providers.ray.submission import JOBS
from jobs.providers.runner import ARCHIVE_NAME, RUN_NAME
from jobs.statuses import TERMINAL, JobStatus

#: Beyond the trainer's grace, for the runner to end what is left and to record the end.
STOP_SECONDS = 10


class RayProvider:
    once_per_marker = True
    bound_to_machine = False

    def __init__(self, instance: RayInstance) -> None:
        self.instance = instance
        self.name = instance.name
        self.label = instance.label

    @property
    def staging(self) -> str:
        return "Unpacking dataset"

    def hardware(self) -> Sequence[str]:
        return tuple(self.instance.hardware)

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        """Send the job's files, then the job. Ray takes a marker once, however often it is sent."""
        profile = self.instance.hardware.get(spec.hardware_profile)
        if profile is None:
            message = f"{self.label} has no hardware profile “{spec.hardware_profile}”."
            raise ProviderError(message, permanent=True, nothing_created=True)
        if reason := nodes.objection_to(profile):
            raise ProviderError(reason, permanent=True, nothing_created=True)
        files = await asyncio.to_thread(self._package, spec)
        async with Connection(self.instance) as connection:
            version, _ = await asyncio.gather(
                connection.json("GET", "/api/version"), submission.send_files(connection, files)
            )
            await submission.send_job(connection, self._job(spec, files))
        return Snapshot(spec.marker, JobStatus.QUEUED, metadata={"session": _session_of(version)})

    def _package(self, spec: TrainingSpec) -> package.Package:
        folder = self._folder(spec.marker)
        self._check_shared_folder()
        with folder_errors(nothing_created=True):
            if folder:
                folder.prepare()
            files = package.build(self.instance, spec, folder)
            if folder:
                submission.keep(folder, self._job(spec, files), files)
            return files

    def _folder(self, marker: str) -> TrainingFolder | None:
        shared = self.instance.shared_folder
        return TrainingFolder(shared, marker) if shared else None

    def _job(self, spec: TrainingSpec, files: package.Package) -> dict[str, Any]:
        profile = self.instance.hardware[spec.hardware_profile]
        stop_seconds = str(self.instance.grace_seconds + STOP_SECONDS)
        resources = {"entrypoint_num_cpus": profile.cpus, "entrypoint_num_gpus": profile.gpus}
        if profile.memory_mb:
            resources["entrypoint_memory"] = profile.memory_mb * nodes.MEGABYTE
        return {
            # `exec`: Ray's supervisor becomes the runner's parent, whose end it watches.
            "entrypoint": f"exec {shlex.quote(self.instance.python)} -I -S {ARCHIVE_NAME} {RUN_NAME}",
            "submission_id": spec.marker,
            "runtime_env": {
                "working_dir": files.address,
                "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": stop_seconds},
            },
            "metadata": {"marker": spec.marker, "job": spec.job_id, "profile": profile.name},
            "entrypoint_resources": dict(profile.resources),
            **resources,
        }

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        searched = set(markers)
        async with Connection(self.instance) as connection:
            listed = await self._list(connection)
            fetcher = Fetcher(self.instance, connection)
            found = {row["submission_id"]: row for row in listed if row["submission_id"] in searched}
            return {marker: await fetcher.snapshot(row, None) for marker, row in found.items()}

    async def _list(self, connection: Connection) -> list[dict[str, Any]]:
        listed = await connection.json("GET", JOBS)
        if not isinstance(listed, list):
            raise RayError(f"{self.label} returned something that is not a list of jobs.", is_general=True)
        return [row for row in listed if rows.is_job(row)]

    async def fetch(self, handles: Sequence[Handle]) -> Answers:
        answers: dict[str, Snapshot | ProviderError] = {}
        async for part in self.fetch_parts(handles):
            answers |= part
        return answers

    async def fetch_parts(self, handles: Sequence[Handle], *, with_logs: bool = False) -> AsyncIterator[Answers]:
        """Ask for the list, which answers for all; `with_logs` asks for each alone, with what is new of its log."""
        async with Connection(self.instance) as connection:
            fetcher = Fetcher(self.instance, connection)
            if with_logs:
                async for part in fetcher.with_logs(handles):
                    yield part
                return
            listed = {row["submission_id"]: row for row in await self._list(connection)}
            async for part in fetcher.from_list(handles, listed):
                yield part

    async def cancel(self, handle: Handle) -> None:
        """Ask Ray to stop the job. One that waits for resources is stopped once there are any, and costs nothing."""
        if folder := self._folder(handle.external_id):
            with suppress(OSError):  # then Ray alone is asked
                await asyncio.to_thread(folder.request_cancel)
        async with Connection(self.instance) as connection:
            try:
                await connection.send("POST", f"{JOBS}{handle.external_id}/stop")
            except RayError as error:
                if error.code != 404:  # a poll finds out what became of it
                    raise

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        """Read from Ray or the shared folder; the site itself reads the copy that it keeps."""
        async with Connection(self.instance) as connection:
            snapshot = await Fetcher(self.instance, connection).with_log(handle, start)
        data = scrubber((snapshot.log or "").encode())[max(0, start - snapshot.log_start) :][:limit]
        return LogSlice(data.decode("utf-8", "ignore"), start, start + len(data), complete=snapshot.status in TERMINAL)

    def may_resume(self) -> bool:
        """Whether its nodes share a folder with this site: without one the output stays on its node."""
        return self.instance.shared_folder is not None

    def output_folder(self, handle: Handle) -> Path | None:
        folder = self._folder(handle.external_id)
        return folder.output if folder else None

    async def delete_files(self, handle: Handle) -> None:
        """Make Ray forget the job, and remove its folder but for the output."""
        async with Connection(self.instance) as connection:
            try:
                await connection.send("DELETE", f"{JOBS}{handle.external_id}")
            except RayError as error:
                if error.code == 500:
                    await self._require_end(connection, handle)
                if error.code != 404:
                    raise
        await asyncio.to_thread(self._remove, handle)

    async def _require_end(self, connection: Connection, handle: Handle) -> None:
        row = await connection.json("GET", f"{JOBS}{handle.external_id}")
        if rows.is_job(row) and rows.status_of(row) not in TERMINAL:
            raise ProviderError("The training has not ended yet; cancel it first.", permanent=True)

    def _remove(self, handle: Handle) -> None:
        with folder_errors():
            if folder := self._folder(handle.external_id):
                folder.remove()
                dataset.remove(folder.shared / DATASETS, handle.job_id)

    def dataset_objection(self, size: int) -> str:
        fits = self.instance.shared_folder is not None or size <= package.MAX_DATASET_BYTES
        return "" if fits else package.TOO_LARGE

    def objection(self, config: Mapping[str, Any], dataloader_config: Sequence[Any]) -> str:
        return ""

    def remarks(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Without a shared folder a model is lost with the node's cache unless the trainer brings it elsewhere."""
        if self.instance.shared_folder is not None or value_of(config, "hub_model_id"):
            return ()
        return (f"{self.label} shares no folder with this site, so results stay on the cluster's nodes.",)

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        """Unpack the dataset on the shared folder. Without one it goes along in the package, where 100 MB fit."""
        shared = self.instance.shared_folder
        if objection := self.dataset_objection(transfer.size):
            raise ProviderError(objection, permanent=True, nothing_created=True)
        if shared is None:
            return RemoteCopy("", str(transfer.path))
        return await asyncio.to_thread(_unpack, shared / DATASETS / transfer.job_id, transfer, progress)

    async def validate(self) -> str:
        view = await self.look()
        unrunnable = [f"{name}: {reason}" for name, reason in view.unrunnable.items()]
        return " ".join([nodes.summary(view.version, view.nodes), *unrunnable, *view.warnings])

    def _check_shared_folder(self) -> None:
        """Raise ProviderError when there is one and we can't write to it."""
        if self.instance.shared_folder:
            with probe(self.instance.shared_folder):
                pass

    async def look(self) -> ClusterView:
        await asyncio.to_thread(self._check_shared_folder)
        async with Connection(self.instance) as connection:
            version = await connection.json("GET", "/api/version")
            if not isinstance(version, dict) or "ray_version" not in version:
                raise RayError(f"{self.label} is not a Ray dashboard: its address belongs to something else.")
            listed, status = await asyncio.gather(
                connection.json("GET", nodes.PATH), connection.json("GET", "/api/cluster_status")
            )
        found, grows = nodes.read_nodes(listed, status), nodes.may_grow(status)
        profiles = self.instance.hardware
        return ClusterView(
            version=str(version["ray_version"])[:40],
            nodes=found,
            unrunnable=_impossible(self.instance) if grows else nodes.unrunnable(profiles, found),
            warnings=[*([nodes.GROWS] if grows else []), *([nodes.OPEN_CLUSTER] if await self._is_open() else [])],
        )

    async def _is_open(self) -> bool:
        """Whether the cluster answers without a token."""
        async with Connection(self.instance, with_token=False) as connection:
            try:
                await connection.json("GET", "/api/version")
            except RayError:
                return False
        return True

    async def recent(self, limit: int) -> Sequence[DiscoveredTraining]:
        async with Connection(self.instance) as connection:
            listed = await self._list(connection)
            fetcher = Fetcher(self.instance, connection)
            newest = sorted(listed, key=lambda row: row.get("start_time") or 0, reverse=True)[:limit]
            return [_discovered(row, await fetcher.listed(row)) for row in newest]

    @classmethod
    def from_settings(cls, name: str) -> Self:
        instance = instance_of(name)
        assert isinstance(instance, RayInstance)
        return cls(instance)


def _session_of(version: Any) -> str:
    return str(version.get("session_name", ""))[:100] if isinstance(version, dict) else ""


def _impossible(instance: RayInstance) -> dict[str, str]:
    reasons = {name: nodes.objection_to(profile) for name, profile in instance.hardware.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _unpack(folder: Path, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
    with folder_errors(nothing_created=True):
        return RemoteCopy("", str(dataset.unpack(folder, transfer, progress)))


def _discovered(row: Mapping[str, Any], snapshot: Snapshot) -> DiscoveredTraining:
    return DiscoveredTraining(
        snapshot=snapshot,
        created_at=rows.moment(row.get("start_time")) or datetime.now(UTC),
        name=str(row["submission_id"])[:200],
        config={},
        dataloader_config=[],
        marker=rows.marker_of(row),
    )
