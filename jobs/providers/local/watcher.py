"""Which trainings of this machine have something new: a look at a few files, without a question to the database."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from jobs.providers.base import ProviderError
from jobs.providers.local import runner
from jobs.providers.local.folder import JobFolder

WATCHED_FILES = (runner.LOG, runner.CLAIM, runner.END)


def changed_jobs(seen: dict[str, object], *, jobs: Path | None = None) -> list[str]:
    """The jobs whose training wrote, began or ended since the last look with the same `seen`.

    Ended trainings cost nothing: one is told of, and struck off the list at the next look. To be told again, remove
    the job from `seen` before that. One that is being cancelled is told of at every look, so that it is pressed on.
    """
    jobs = jobs or settings.DATA_DIR / "jobs"
    names = _active(jobs)
    for gone in seen.keys() - set(names):
        del seen[gone]
    return [name for name in names if _changed(seen, jobs, name)]


def ended_jobs(seen: dict[str, object], *, jobs: Path | None = None) -> list[str]:
    """The jobs whose training ended since the last look of either kind, and nothing else: a slot is free then.

    Costs one question to the file system for each that trains, so that it can be asked often.
    """
    jobs = jobs or settings.DATA_DIR / "jobs"
    ends = [name for name in _active(jobs) if os.path.exists(f"{jobs}/{name}/{runner.END}")]  # noqa: PTH110
    return [name for name in ends if not _is_end_reported(seen, name) and _changed(seen, jobs, name)]


def _is_end_reported(seen: dict[str, object], name: str) -> bool:
    signature = seen.get(name)
    return isinstance(signature, tuple) and signature[-1] is not None


def _active(jobs: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(jobs / runner.ACTIVE)  # noqa: PTH208 - a thousand Path objects a second for nothing
    return []


def _changed(seen: dict[str, object], jobs: Path, name: str) -> bool:
    try:
        folder = JobFolder(jobs, name)
    except ProviderError:
        return False
    previous, signature = seen.get(name), _signature(folder)
    if signature == previous and (folder.end() or not folder.exists()):
        (jobs / runner.ACTIVE / name).unlink(missing_ok=True)
        seen.pop(name, None)
        return False
    seen[name] = signature
    return signature != previous or folder.cancel_requested_at() is not None


def _signature(folder: JobFolder) -> tuple[object, ...]:
    """What differs as soon as there is something to tell; a training that died without a word differs too."""
    start = folder.start()
    gone = start is not None and start.is_here and not start.is_alive
    return (gone, *(_size_and_mtime(folder.path / file) for file in WATCHED_FILES))


def _size_and_mtime(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        stat = path.stat()
        return stat.st_size, stat.st_mtime_ns
    return None
