"""The provider that trains on this machine: the embedded default.

Each training has a folder of its own and a runner (`jobs/providers/runner/`) that outlives our processes. Its state is
read from the folder and from the running processes, so that every process of ours reports the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from django.conf import settings

from cloudtrain_site.encryption import SecretScrubber
from cloudtrain_site.enterprise import config_in_force
from jobs.providers.base import NO_SECRETS, Handle, LogSlice, ProviderError, Snapshot, TrainingSpec
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.providers.local import command as local_command
from jobs.providers.local import dataset, log
from jobs.providers.local.folder import JobFolder, Start, disk_errors, find_marked
from jobs.providers.local.status import State, enforce_cancel, read_state, start_of, state_without_folder, stop
from jobs.providers.runner import FOLDER as RUNNER
from jobs.providers.runner import records
from jobs.statuses import ACTIVE, JobStatus

logger = logging.getLogger("simpletuner.cloud.providers")

#: A runner that has not started its trainer by then never will, and is killed.
START_SECONDS = 20.0


class LocalProvider:
    """Trains with the operator's command. A training's external id is its job's id, since a job trains once here."""

    name = "local"
    label = "This machine"
    staging = "Unpacking dataset"
    once_per_marker = True
    bound_to_machine = True

    def __init__(self, data_dir: Path, command: Sequence[str], grace_seconds: float) -> None:
        self.jobs = data_dir.absolute() / "jobs"
        self.command = command
        self.grace_seconds = grace_seconds

    @classmethod
    def from_settings(cls, name: str = "local") -> Self:
        """Build the only one of its kind: this machine is one, whatever its name."""
        config = config_in_force().providers.local
        return cls(settings.DATA_DIR, config.command, config.grace_seconds)

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        """Start the training, or return the one that the job has: it never has two, however often it is submitted."""
        return await asyncio.to_thread(self._submit, spec)

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        return await asyncio.to_thread(self._find_by_marker, list(markers))

    async def fetch(self, handles: Sequence[Handle]) -> Mapping[str, Snapshot | ProviderError]:
        return await asyncio.to_thread(self._fetch, handles)

    async def cancel(self, handle: Handle) -> None:
        await asyncio.to_thread(self._cancel, handle)

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        return await asyncio.to_thread(self._read_log, handle, start, limit, scrubber)

    def may_resume(self) -> bool:
        return True

    def output_folder(self, handle: Handle) -> Path | None:
        return JobFolder(self.jobs, handle.external_id).output

    async def delete_files(self, handle: Handle) -> None:
        await asyncio.to_thread(self._delete_files, handle)

    async def validate(self) -> str:
        return await asyncio.to_thread(self._validate)

    def hardware(self) -> Sequence[str]:
        return ("cpu",)

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        return await asyncio.to_thread(self._stage, transfer, progress)

    def _stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        folder = JobFolder(self.jobs, transfer.job_id)
        with disk_errors(nothing_created=True):
            return RemoteCopy("", str(dataset.unpack(folder.path, transfer, progress)))

    def _submit(self, spec: TrainingSpec) -> Snapshot:
        folder = JobFolder(self.jobs, spec.job_id)
        with disk_errors(nothing_created=True):
            start, failure = folder.start(), ""
            if start is None:
                folder.prepare(spec.config, _dataloader_config(spec), spec.checkpoint_order)
            # Before anything is started: a process that finds our lease expired searches by the marker.
            folder.link_marker(spec.marker)
            if start is None:
                start, failure = self._launch(folder, spec)
        with disk_errors():
            if start and not folder.exists():
                return self._began_without_folder(folder, start)
            state = read_state(folder, start)
            if state.start is None or state.end:
                folder.drop_secrets()
            if state.start is None:
                is_elsewhere = failure == records.TRAINS_ELSEWHERE
                message = f"The training could not be started: {failure}."
                raise ProviderError(message, permanent=is_elsewhere, nothing_created=True)
            return self._snapshot(folder, state)

    def _launch(self, folder: JobFolder, spec: TrainingSpec) -> tuple[Start | None, str]:
        """Let a runner claim the job and start its training. Returns the start, or else the runner's error."""
        deadline = time.monotonic() + START_SECONDS
        command = [sys.executable, "-I", "-S", str(RUNNER)]
        command += [str(folder.path), spec.marker, str(self.grace_seconds), str(deadline)]
        command += local_command.substitute_placeholders(self.command, folder.path, spec.dataset)
        runner = subprocess.Popen(  # noqa: S603 - the operator's command, as a list
            command,
            cwd=folder.path,
            env=local_command.clean_environment(spec, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        try:
            # A second more than the runner's own deadline, after which it starts nothing.
            output, error = runner.communicate(timeout=START_SECONDS + 1)
            start = Start.from_record(json.loads(output)) if output else None
            return start, error.strip() or "its runner was killed"
        except subprocess.TimeoutExpired:
            # communicate() would block for as long as the runner hangs.
            runner.kill()
            runner.wait()
            for pipe in (runner.stdout, runner.stderr):
                if pipe:
                    pipe.close()
            return None, "this machine is too busy"

    def _find_by_marker(self, markers: Sequence[str]) -> Mapping[str, Snapshot]:
        """Leave out jobs that were never started, so that they are submitted again."""
        snapshots = {}
        with disk_errors():
            for marker in markers:
                folder = find_marked(self.jobs, marker)
                if folder and (start := folder.start()):
                    snapshots[marker] = (
                        self._snapshot(folder, read_state(folder, start))
                        if folder.exists()
                        else self._began_without_folder(folder, start)
                    )
        return snapshots

    def _fetch(self, handles: Sequence[Handle]) -> Mapping[str, Snapshot | ProviderError]:
        answers: dict[str, Snapshot | ProviderError] = {}
        for handle in handles:
            try:
                answer = self._fetch_one(JobFolder(self.jobs, handle.external_id), handle)
            except ProviderError as error:
                answers[handle.job_id] = error
            else:
                if answer:
                    answers[handle.job_id] = answer
        return answers

    def _fetch_one(self, folder: JobFolder, handle: Handle) -> Snapshot | None:
        """Return None for a training of another machine: only that machine knows its state."""
        known = Start.from_metadata(handle.metadata)
        with disk_errors():
            if known and not folder.exists():
                return self._fetch_without_folder(folder, known, handle.cancel_requested_at)
            _require(folder)
            # A folder that a trainer made anew, after its own was gone, has no request in it.
            asked_at = folder.cancel_requested_at() or handle.cancel_requested_at
            state = read_state(folder, known, handle.cancel_requested_at)
            if state.start and state.end is None:
                enforce_cancel(state.start, asked_at, self.grace_seconds)
            return self._snapshot(folder, state) if state.status else None

    def _began_without_folder(self, folder: JobFolder, start: Start) -> Snapshot:
        """Return a training whose folder vanished before the job knew of its start."""
        snapshot = self._fetch_without_folder(folder, start, None)
        return replace(snapshot, started_at=start.started_at, metadata=start.metadata)

    def _fetch_without_folder(self, folder: JobFolder, start: Start, asked_at: datetime | None) -> Snapshot:
        state = state_without_folder(start, asked_at)
        if state.status in ACTIVE:
            enforce_cancel(start, asked_at, self.grace_seconds)
            return Snapshot(folder.job_id, state.status)
        logger.warning("The folder of a training is gone", extra={"job_id": folder.job_id, "status": state.status})
        log.stop_following(folder.log)
        return Snapshot(folder.job_id, state.status, completed_at=datetime.now(UTC), error_message=state.error)

    def _snapshot(self, folder: JobFolder, state: State) -> Snapshot:
        start, end, progress = state.start, state.end, log.follow_progress(folder.log)
        has_completed = state.status == JobStatus.COMPLETED
        snapshot = Snapshot(
            external_id=folder.job_id,
            status=state.status,
            started_at=start.started_at if start else None,
            # A clock that was put back must not make a training end before it began.
            completed_at=max(end.ended_at, start.started_at) if start and end else None,
            error_message=state.error,
            output_url=folder.output.as_uri() if end and folder.has_output() else None,
            progress=progress,
            metadata=start.metadata if start and not start.is_damaged else {},
            first_step=log.began_at_step(folder.log, progress.total) if progress and has_completed else None,
        )
        if end:
            log.stop_following(folder.log)
        return snapshot

    def _cancel(self, handle: Handle) -> None:
        """Idempotent. Another machine's training is stopped by that machine, which finds the request in the folder."""
        folder = JobFolder(self.jobs, handle.external_id)
        known = Start.from_metadata(handle.metadata)
        with disk_errors():
            if known and not folder.exists():
                stop(known, handle.cancel_requested_at or datetime.now(UTC), self.grace_seconds)
                return
            _require(folder)
            start = start_of(folder, known)
            if folder.end() and not (start and start.is_alive):
                return
            # The request first: from here on the training's end is a cancellation, and every fetch enforces it.
            folder.request_cancel()
            start = start_of(folder, known)
            if start:
                stop(start, folder.cancel_requested_at() or datetime.now(UTC), self.grace_seconds)

    def _read_log(self, handle: Handle, start: int, limit: int, scrubber: SecretScrubber) -> LogSlice:
        folder = JobFolder(self.jobs, handle.external_id)
        with disk_errors():
            _require(folder)
            # Read before the log: lines written in between would be missed.
            ended = read_state(folder).end is not None
            return log.read_slice(folder.log, start=start, limit=limit, ended=ended, scrubber=scrubber)

    def _delete_files(self, handle: Handle) -> None:
        folder = JobFolder(self.jobs, handle.external_id)
        with disk_errors():
            if not folder.exists() or folder.is_cleared():
                if start := folder.start():
                    folder.remove_links(start.marker)
                return
            state = read_state(folder)
            if state.start and not state.end:
                raise ProviderError("The training has not ended yet; cancel it first.", permanent=True)
            folder.remove(state.start.marker if state.start else "")
            log.stop_following(folder.log)

    def remove_log(self, handle: Handle) -> bool:
        folder = JobFolder(self.jobs, handle.external_id)
        with disk_errors():
            if not folder.exists() or folder.path.is_symlink():
                return False
            folder.log.unlink(missing_ok=True)
        log.stop_following(folder.log)
        return True

    def _validate(self) -> str:
        local_command.check(self.command)
        if records.start_time(os.getpid()) is None:
            raise ProviderError("Training on this machine needs Linux: it has no /proc.", permanent=True)
        with disk_errors():
            folder = self.jobs if self.jobs.exists() else self.jobs.parent
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"0")
        program = local_command.substitute_placeholders(self.command, self.jobs)[0]
        return f"Trains on this machine with {Path(program).name}."


def _dataloader_config(spec: TrainingSpec) -> Sequence[Any]:
    if not spec.dataset:
        return spec.dataloader_config
    config: list[Any] = dataset.substitute_placeholder(spec.dataloader_config, spec.dataset)
    return config


def _require(folder: JobFolder) -> None:
    if not folder.exists():
        raise ProviderError("This machine does not have the job's folder: it was removed, or is on another machine.")
