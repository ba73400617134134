"""The state of Ray jobs: one list for all of them, what it lacks asked alone, logs and records of the ended ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudtrain_site.conf.providers import RayInstance
from jobs.providers.base import Answers, Handle, ProviderError, Snapshot
from jobs.providers.clusters.training_folder import Run, TrainingFolder, folder_errors
from jobs.providers.first_step import first_step
from jobs.providers.local import log as log_file
from jobs.providers.local.files import NotRegularFileError, open_regular
from jobs.providers.progress import Progress, read_progress
from jobs.providers.ray import log, nodes, rows, submission
from jobs.providers.ray.client import MAX_CONCURRENT_REQUESTS, Connection, RayError
from jobs.statuses import ACTIVE, TERMINAL, JobStatus

logger = logging.getLogger("simpletuner.cloud.providers")

#: A job that a cluster does not know is lost once it said so twice, this far apart.
LOST_AFTER = timedelta(seconds=60)
MISSING_SINCE = "missing_since"
#: Submitted where no job has ended that could be stopped; a second time Ray refuses it, awake.
WAKING_JOB = {"entrypoint": "true", "submission_id": "cloudtrain-wakes-ray"}
#: A log that its living node can't give this long after the end never will be there.
HOPELESS_AFTER = timedelta(hours=1)
#: Progress is read from the end of a log: more of it would say nothing more.
PROGRESS_TAIL_CHARACTERS = 65_536
#: Of a log on the shared folder, in one look at a running training.
MAX_PIECE_BYTES = 8_000_000
LOST = "The Ray cluster no longer knows the training: it was deleted there, or the head node was restarted."
STOPPED_THERE = "The job was stopped at the cluster."
NODE_GONE = "The training is lost: its node died, or Ray was restarted on it."
MADE_ANEW = "The training is lost: the Ray cluster was set up again without its earlier jobs."


class Fetcher:
    def __init__(self, instance: RayInstance, connection: Connection) -> None:
        self.instance = instance
        self.connection = connection

    def _folder(self, marker: str) -> TrainingFolder | None:
        shared = self.instance.shared_folder
        return TrainingFolder(shared, marker) if shared else None

    async def from_list(self, handles: Sequence[Handle], listed: Mapping[str, Any]) -> AsyncIterator[Answers]:
        """Yield the answers of the list at once, then those that take requests of their own."""
        found = [listed[handle.external_id] for handle in handles if handle.external_id in listed]
        nodes_body = await self._nodes_if_any_runs(found)
        if any(_looks_forgotten(row, nodes_body) for row in found):
            await self._wake(listed)
        at_once: list[Handle] = []
        alone: list[Handle] = []
        for handle in handles:
            row = listed.get(handle.external_id)
            is_followed = row is not None and rows.status_of(row) in ACTIVE and not _is_orphaned(row, nodes_body)
            (at_once if is_followed else alone).append(handle)
        yield await asyncio.to_thread(self._active, at_once, listed)
        async for part in self._one_by_one(alone, lambda handle: self._settled(handle, listed.get(handle.external_id))):
            yield part

    async def _nodes_if_any_runs(self, found: Sequence[Mapping[str, Any]]) -> Any:
        """Return the nodes, by which a job is known that Ray, restarted with its store, calls RUNNING for ever."""
        if not any(rows.status_of(row) == JobStatus.RUNNING for row in found):
            return None
        return await self.connection.json("GET", nodes.PATH)

    async def _wake(self, listed: Mapping[str, Any]) -> None:
        """Have Ray look after its jobs.

        A head that was restarted with its store does so only from the next submission, stop or deletion on (read in
        its source, and seen): until then what waited waits, and what ran runs, for ever. A stop of an ended job does
        nothing else.
        """
        ended = next((name for name, row in listed.items() if rows.status_of(row) in TERMINAL), None)
        with suppress(RayError):  # there is a next poll
            if ended is None:
                await self.connection.send("POST", "/api/jobs/", json=WAKING_JOB)
            else:
                await self.connection.send("POST", f"/api/jobs/{ended}/stop")

    async def with_logs(self, handles: Sequence[Handle]) -> AsyncIterator[Answers]:
        failures: list[RayError] = []
        async for part in self._one_by_one(handles, lambda handle: self.with_log(handle, handle.log_size)):
            failures += [answer for answer in part.values() if isinstance(answer, RayError) and answer.is_general]
            yield part
        if failures and len(failures) == len(handles):
            raise failures[-1]

    async def _one_by_one(
        self, handles: Sequence[Handle], ask: Callable[[Handle], Awaitable[Snapshot]]
    ) -> AsyncIterator[Answers]:
        for first in range(0, len(handles), MAX_CONCURRENT_REQUESTS):
            some = handles[first : first + MAX_CONCURRENT_REQUESTS]
            answers = await asyncio.gather(*(_or_error(ask(handle)) for handle in some))
            yield {handle.job_id: answer for handle, answer in zip(some, answers, strict=True)}

    def _active(self, handles: Sequence[Handle], listed: Mapping[str, Any]) -> Answers:
        answers: dict[str, Snapshot | ProviderError] = {}
        for handle in handles:
            try:
                answers[handle.job_id] = self._active_one(listed[handle.external_id], handle)
            except ProviderError as error:
                answers[handle.job_id] = error
        return answers

    def _active_one(self, row: Mapping[str, Any], handle: Handle | None) -> Snapshot:
        folder, run, progress = self._folder(row["submission_id"]), Run(), None
        if folder and rows.status_of(row) == JobStatus.RUNNING:
            with folder_errors():
                run, progress = folder.run(), log_file.follow_progress(folder.log)
            if run.started_at:
                submission.drop(folder)
        snapshot = rows.active_snapshot(self.instance, row, handle, run)
        return replace(snapshot, progress=progress, metadata=_seen_again(handle))

    async def _settled(self, handle: Handle, row: Mapping[str, Any] | None) -> Snapshot:
        """Return a job that the list lacks, or that has ended."""
        if row is None:
            row = await self._row(handle)
        if row is None:
            return await self._lost(handle)
        if rows.status_of(row) in ACTIVE:
            return await self._lost(handle, NODE_GONE)
        return await self._submitted_again(handle, row) or await self.snapshot(row, handle)

    async def _submitted_again(self, handle: Handle, row: Mapping[str, Any] | None) -> Snapshot | None:
        """Submit a training again that Ray lost before its runner began. None: it ended otherwise, or often enough.

        `row`: Ray's, of an ended job; None when it does not know the job.
        """
        folder = self._folder(handle.external_id)
        if folder is None or handle.cancel_requested_at:
            return None
        if row is not None:
            run = await asyncio.to_thread(self._recorded, handle.external_id)
            is_over = not rows.may_still_run(row, run, self.instance.grace_seconds, datetime.now(UTC))
            if not (is_over and await asyncio.to_thread(_begins_again, row, run, folder)):
                return None
        with folder_errors():
            kept = await asyncio.to_thread(submission.take, folder)
        if kept is None:
            return None
        if row is not None and not await submission.forget_job(self.connection, handle.external_id):
            return Snapshot(handle.external_id, None)  # it was submitted again meanwhile
        logger.warning("Ray lost a job that it had accepted; it is submitted again", extra={"job_id": handle.job_id})
        job, files = kept
        await submission.send_files(self.connection, files)
        await submission.send_job(self.connection, job)
        return Snapshot(handle.external_id, JobStatus.QUEUED, metadata=_seen_again(handle))

    async def _row(self, handle: Handle) -> dict[str, Any] | None:
        """Return the job's own answer. None: Ray does not know it."""
        try:
            row = await self.connection.json("GET", f"/api/jobs/{handle.external_id}")
        except RayError as error:
            if error.code == 404:
                return None
            raise
        if not rows.is_job(row):
            raise RayError(f"{self.instance.label} returned something that is not a job.")
        return row  # type: ignore[no-any-return]

    async def _lost(self, handle: Handle, reason: str = "") -> Snapshot:
        """Return a job that Ray does not know, or whose node is gone: lost when it is so a minute later as well."""
        version = await self.connection.json("GET", "/api/version")
        now, first = datetime.now(UTC), _moment(handle.metadata.get(MISSING_SINCE))
        if first is None:
            return Snapshot(handle.external_id, None, metadata={MISSING_SINCE: now.isoformat()})
        if now - first < max(LOST_AFTER, timedelta(seconds=self.instance.grace_seconds + rows.RUNNER_SECONDS)):
            return Snapshot(handle.external_id, None)
        run = await asyncio.to_thread(self._recorded, handle.external_id)
        if run.ended_at is not None and not run.stopped:
            row = {"submission_id": handle.external_id, "status": "FAILED"}
            return rows.ended_snapshot(row, run, "", self.instance)
        session = version.get("session_name") if isinstance(version, dict) else None
        if not reason and (snapshot := await self._submitted_again(handle, None)):
            return replace(snapshot, metadata={**snapshot.metadata, "session": session})
        known = handle.metadata.get("session")
        is_new = bool(known) and session != known
        return Snapshot(
            handle.external_id,
            JobStatus.CANCELLED if handle.cancel_requested_at else JobStatus.FAILED,
            started_at=run.started_at,
            completed_at=run.ended_at or first,
            billed_seconds=run.seconds,
            error_message=None if handle.cancel_requested_at else reason or (MADE_ANEW if is_new else LOST),
        )

    def _recorded(self, marker: str) -> Run:
        folder = self._folder(marker)
        with folder_errors():
            return folder.run() if folder else Run()

    async def snapshot(self, row: Mapping[str, Any], handle: Handle | None) -> Snapshot:
        """Return a job from its row and, when it has ended, its records; without its log."""
        if rows.status_of(row) not in TERMINAL:
            return await asyncio.to_thread(self._active_one, row, handle)
        run = await asyncio.to_thread(self._recorded, row["submission_id"])
        tail = None if run.ended_at else await self._tail_if_any(row, log.read_records(self.connection, row))
        return await self._ended(row, handle, run, tail)

    async def listed(self, row: Mapping[str, Any]) -> Snapshot:
        """Return a job of the list; one that isn't ours has no records that a request would be worth."""
        if rows.marker_of(row) or rows.status_of(row) not in TERMINAL:
            return await self.snapshot(row, None)
        return rows.ended_snapshot(row, Run(), "", self.instance)

    async def _tail_if_any(self, row: Mapping[str, Any], request: Awaitable[log.Tail | None]) -> log.Tail | None:
        """Return the log of a job; None when it is gone with its node."""
        try:
            return await request
        except RayError as error:
            if error.is_general or error.code is None or not await self._is_log_gone(row):
                raise
            return None

    async def _is_log_gone(self, row: Mapping[str, Any]) -> bool:
        """Whether a job has ended and no later request will get its log."""
        ended_at = rows.moment(row.get("end_time"))
        if rows.status_of(row) not in TERMINAL:
            return False
        if ended_at and datetime.now(UTC) - ended_at > HOPELESS_AFTER:
            return True
        return not nodes.is_alive(await self.connection.json("GET", nodes.PATH), row.get("driver_node_id"))

    async def _ended(self, row: Mapping[str, Any], handle: Handle | None, run: Run, tail: log.Tail | None) -> Snapshot:
        if run.ended_at is None and tail:
            marked = Run.from_records(tail.records.get("start"), tail.records.get("end"))
            run = marked if marked.ended_at or not run.started_at else run
        folder = self._folder(row["submission_id"])
        is_open = rows.may_still_run(row, run, self.instance.grace_seconds, datetime.now(UTC))
        if is_open or (folder and await asyncio.to_thread(_begins_again, row, run, folder)):
            return Snapshot(row["submission_id"], None, metadata=_seen_again(handle))
        with folder_errors():
            last = await asyncio.to_thread(log_file.final_lines, folder.log) if folder else _last_lines(tail)
            output = folder.output.as_uri() if folder and folder.has_output() else None
            progress = await asyncio.to_thread(log_file.follow_progress, folder.log) if folder else None
        if folder:
            log_file.stop_following(folder.log)
            submission.drop(folder)
        never_began = run.ended_at is None and tail is not None and tail.has_never_begun
        snapshot = rows.ended_snapshot(row, run, last, self.instance, never_began=never_began)
        if snapshot.status == JobStatus.CANCELLED and handle and not handle.cancel_requested_at:
            snapshot = replace(snapshot, error_message=STOPPED_THERE)
        return replace(snapshot, output_url=output, progress=progress, metadata=_seen_again(handle))

    async def with_log(self, handle: Handle, position: int) -> Snapshot:
        """Return a job with its log from byte `position` on, the whole for one that has ended."""
        row = await self._row(handle)
        if row is None:
            return await self._forgotten(handle, position)
        # A look at the log takes back nothing that a poll has seen.
        handle = replace(handle, metadata={})
        folder = self._folder(handle.external_id)
        is_ended = rows.status_of(row) in TERMINAL
        if folder:
            snapshot = await self.snapshot(row, handle)
            with folder_errors():
                text, progress = await asyncio.to_thread(_read_file, folder, position, snapshot)
            return replace(snapshot, log=text, log_start=position, progress=snapshot.progress or progress)
        request = log.read_tail(self.connection, row, 0 if is_ended else position)
        tail = await self._tail_if_any(row, request)
        snapshot = await self._ended(row, handle, Run(), tail) if is_ended else self._active_one(row, handle)
        is_gone = tail is None and bool(row.get("driver_node_id")) and snapshot.status in TERMINAL
        return _with_tail(replace(snapshot, data_removed=is_gone), tail, position)

    async def _forgotten(self, handle: Handle, position: int) -> Snapshot:
        """Return the log of a job that Ray does not know: what is on the shared folder, if there is one."""
        if not handle.has_ended:  # a poll finds out whether it is lost
            raise RayError(LOST, code=404)
        folder, ended = self._folder(handle.external_id), Snapshot(handle.external_id, JobStatus.FAILED)
        if folder is None:
            return replace(ended, log="", log_start=position, data_removed=True)
        with folder_errors():
            text, progress = await asyncio.to_thread(_read_file, folder, position, ended)
        return replace(ended, log=text, log_start=position, progress=progress)


def _with_tail(snapshot: Snapshot, tail: log.Tail | None, position: int) -> Snapshot:
    is_ended = snapshot.status in TERMINAL
    if tail is None:
        return replace(snapshot, log="" if is_ended else None, log_start=position)
    text = "" if tail.start is None else log.text_of(tail.data)
    progress = read_progress(text[-PROGRESS_TAIL_CHARACTERS:]) if text else None
    run = Run.from_records(tail.records.get("start"), None)
    has_completed = snapshot.status == JobStatus.COMPLETED
    return replace(
        snapshot,
        started_at=snapshot.started_at or run.started_at,
        log=tail.from_byte(position, is_ended=is_ended),
        log_start=position,
        progress=progress,
        first_step=first_step(text, progress.total) if progress and has_completed else None,
    )


def _read_file(folder: TrainingFolder, position: int, snapshot: Snapshot) -> tuple[str, Progress | None]:
    """Return the log's text from byte `position` on, and the progress until its end."""
    is_ended = snapshot.status in TERMINAL
    try:
        with open_regular(folder.log) as file:
            file.seek(position)
            data = file.read() if is_ended else file.read(MAX_PIECE_BYTES)
    except FileNotFoundError:
        return "", None
    except NotRegularFileError:
        return (f"{log_file.REPLACED}\n" if not position else ""), None
    return log.text_of(data if is_ended else data[: log.whole_lines(data)]), log_file.follow_progress(folder.log)


def _last_lines(tail: log.Tail | None) -> str:
    return log_file.last_messages(log.text_of(tail.data[-log_file.FINAL_LINES_READ_BYTES :])) if tail else ""


def _looks_forgotten(row: Mapping[str, Any], nodes_body: Any) -> bool:
    submitted_at = rows.moment(row.get("start_time"))
    waits = rows.status_of(row) == JobStatus.QUEUED
    is_late = submitted_at is not None and datetime.now(UTC) - submitted_at > LOST_AFTER
    return (waits and is_late) or (not waits and _is_orphaned(row, nodes_body))


def _is_orphaned(row: Mapping[str, Any], nodes_body: Any) -> bool:
    """Whether a job runs, as Ray says, on a node that is no more."""
    node = row.get("driver_node_id")
    return nodes_body is not None and bool(node) and not nodes.is_alive(nodes_body, node)


def _begins_again(row: Mapping[str, Any], run: Run, folder: TrainingFolder) -> bool:
    """Whether Ray lost an ended job before its runner began, and the next poll submits it again."""
    with folder_errors():
        return rows.is_engines_end(row) and run.started_at is None and submission.kept_of(folder) is not None


def _seen_again(handle: Handle | None) -> Mapping[str, Any]:
    """Return the metadata that takes back an earlier answer that Ray did not know the job."""
    return {MISSING_SINCE: None} if handle and handle.metadata.get(MISSING_SINCE) else {}


async def _or_error(answer: Awaitable[Snapshot]) -> Snapshot | ProviderError:
    try:
        return await answer
    except ProviderError as error:
        return error


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
