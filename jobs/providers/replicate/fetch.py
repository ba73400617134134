"""Fetch the state of many predictions with few requests.

A list page answers for up to a hundred predictions; pages are read as long as enough of theirs are asked about. The
time that the jobs span is cut into windows, which are read side by side, each from its newest page on. Predictions that
no page showed are fetched one by one. Lists carry no logs: only single answers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobs.providers.base import Answers, Handle, ProviderError, Snapshot
from jobs.providers.replicate.access import ReplicateError
from jobs.providers.replicate.predictions import read_snapshot
from jobs.statuses import TERMINAL

if TYPE_CHECKING:
    from jobs.providers.replicate.client import Connection

#: A page costs a request and waits for the page before it: it pays when it answers for at least this many jobs.
MIN_JOBS_PER_PAGE = 4
#: About two and a half pages, which are read one after the other.
JOBS_PER_WINDOW = 250
MAX_WINDOWS = 6
CLOCK_SLACK = timedelta(minutes=2)
#: Clocks may differ, and a submission first looks up its version.
AFTER_SUBMISSION = timedelta(minutes=10)
#: A prediction made this recently may not be visible yet.
NOT_YET_VISIBLE = timedelta(seconds=60)
#: No answer and 429 would meet the next request as well; another code may be one prediction's own.
GENERAL_CODES = frozenset({None, 429})
EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    after: datetime
    before: datetime
    handles: Sequence[Handle]


async def fetch_parts(
    connection: Connection, handles: Sequence[Handle], *, with_logs: bool = False
) -> AsyncIterator[Answers]:
    """Yield answers as they arrive. Raises ProviderError when Replicate as a whole can't be asked."""
    missing = {handle.external_id: handle for handle in handles}
    spans = windows(handles) if len(handles) >= MIN_JOBS_PER_PAGE and not with_logs else []
    async for part in _merge([_read_window(connection, span, missing) for span in spans]):
        yield part
    singles = [_read_single(connection, handle) for handle in missing.values()]
    failures: list[ReplicateError] = []
    async for part in _merge(singles):
        failures += [answer for answer in part.values() if isinstance(answer, ReplicateError) and answer.is_general]
        yield part
    if failures and len(failures) == len(handles) and not (with_logs and _is_single_failure(failures)):
        raise failures[-1]


def _is_single_failure(failures: Sequence[ReplicateError]) -> bool:
    """Whether one prediction alone was tried, and met a server error: that says little about the others."""
    return len(failures) == 1 and (failures[0].code or 0) >= 500


def windows(handles: Sequence[Handle]) -> list[Window]:
    """Cut the time that the jobs span into windows with about equally many of them."""
    ordered = sorted(handles, key=_since)
    count = min(MAX_WINDOWS, -(-len(ordered) // JOBS_PER_WINDOW))
    size = -(-len(ordered) // count)
    groups = [ordered[first : first + size] for first in range(0, len(ordered), size)]
    starts = [_since(groups[0][0]) - CLOCK_SLACK, *(_since(group[0]) for group in groups[1:])]
    ends = [*starts[1:], _since(ordered[-1]) + AFTER_SUBMISSION]
    return [Window(start, end, group) for start, end, group in zip(starts, ends, groups, strict=True)]


def _since(handle: Handle) -> datetime:
    return handle.since or EARLIEST


async def _read_window(connection: Connection, window: Window, missing: dict[str, Handle]) -> AsyncIterator[Answers]:
    """Yield the answers of its pages, newest first, while they pay. Removes the answered ones from `missing`."""
    params = {"created_after": window.after.isoformat(), "created_before": window.before.isoformat()}
    own = {handle.job_id for handle in window.handles}
    page = await _page(connection.get("/v1/predictions", **params))
    while page:
        part = _answers_on(page, missing)
        yield part
        link = page.get("next")
        done = not any(handle.external_id in missing for handle in window.handles)
        # Replicate's clocks differ: a window's last page may have jobs of the window before it, which won't find them.
        foreign = part.keys() - own
        if (done and not foreign) or len(part) < MIN_JOBS_PER_PAGE or not isinstance(link, str):
            return
        page = await _page(connection.follow(link))


async def _page(request: Awaitable[Any]) -> Mapping[str, Any] | None:
    """Return a page; None when this page alone failed, so that its jobs are fetched one by one."""
    try:
        page = await request
    except ReplicateError as error:
        if error.is_general:
            raise
        return None
    return page if isinstance(page, Mapping) and isinstance(page.get("results"), list) else None


def _answers_on(page: Mapping[str, Any], missing: dict[str, Handle]) -> Answers:
    answers: dict[str, Snapshot | ProviderError] = {}
    for item in page["results"]:
        handle = missing.pop(str(item.get("id")), None) if isinstance(item, Mapping) else None
        if handle is not None:
            answers[handle.job_id] = read_snapshot(item)
    return answers


async def fetch_one(connection: Connection, handle: Handle) -> Snapshot:
    """Return one prediction with its log. An ended one without a log gets an empty one; a list leaves that open."""
    snapshot = read_snapshot(await connection.get(f"/v1/predictions/{handle.external_id}"))
    return replace(snapshot, log="") if snapshot.log is None and snapshot.status in TERMINAL else snapshot


async def _read_single(connection: Connection, handle: Handle) -> AsyncIterator[Answers]:
    try:
        yield {handle.job_id: await fetch_one(connection, handle)}
    except ProviderError as error:
        if isinstance(error, ReplicateError) and error.is_general and error.code in GENERAL_CODES:
            raise
        is_new = handle.since is not None and datetime.now(UTC) - handle.since < NOT_YET_VISIBLE
        if not (is_new and isinstance(error, ReplicateError) and error.code == 404):
            yield {handle.job_id: error}


async def _merge(sources: Iterable[AsyncIterator[Answers]]) -> AsyncIterator[Answers]:
    """Yield the answers of all sources in the order of their arrival. The first error ends them all."""
    queue: asyncio.Queue[Answers | BaseException | None] = asyncio.Queue()

    async def drain(source: AsyncIterator[Answers]) -> None:
        try:
            async for part in source:
                queue.put_nowait(part)
        except Exception as error:
            queue.put_nowait(error)
        else:
            queue.put_nowait(None)

    tasks = [asyncio.create_task(drain(source)) for source in sources]
    running = len(tasks)
    try:
        while running:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            elif item:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
