"""Which trainings of this machine have changed: a few files answer that, without a query."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from jobs.providers.base import ProviderError
from jobs.providers.local.folder import JobFolder
from jobs.providers.runner import records

WATCHED_FILES = (records.LOG, records.CLAIM, records.END)


def changed_jobs(seen: dict[str, object], *, jobs: Path | None = None) -> list[str]:
    """Return the jobs whose training wrote, began or ended since the last call with the same `seen`.

    An ended training is reported once and unlisted by the next call, so that it costs nothing from then on. To have it
    reported again, remove the job from `seen` before that. One that is being cancelled is reported by every call, so
    that its cancellation is enforced.
    """
    jobs = jobs or settings.DATA_DIR / "jobs"
    names = _active(jobs)
    for gone in seen.keys() - set(names):
        del seen[gone]
    return [name for name in names if _changed(seen, jobs, name)]


def ended_jobs(seen: dict[str, object], *, jobs: Path | None = None) -> list[str]:
    """Return only the jobs whose training ended since the last call of either function: a slot is free then.

    It costs one file system call for each running training, so that it can be called often.
    """
    jobs = jobs or settings.DATA_DIR / "jobs"
    ends = [name for name in _active(jobs) if os.path.exists(f"{jobs}/{name}/{records.END}")]  # noqa: PTH110
    return [name for name in ends if not _is_end_reported(seen, name) and _changed(seen, jobs, name)]


def _is_end_reported(seen: dict[str, object], name: str) -> bool:
    signature = seen.get(name)
    # A record whose training still lives is none yet.
    return isinstance(signature, tuple) and bool(signature[0]) and signature[-1] is not None


def _active(jobs: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(jobs / records.ACTIVE)  # noqa: PTH208 - a thousand Path objects a second for nothing
    return []


def _changed(seen: dict[str, object], jobs: Path, name: str) -> bool:
    try:
        folder = JobFolder(jobs, name)
    except ProviderError:
        return False
    previous, signature = seen.get(name), _signature(folder)
    if signature == previous and (_is_over(folder) or not folder.exists()):
        (jobs / records.ACTIVE / name).unlink(missing_ok=True)
        seen.pop(name, None)
        return False
    seen[name] = signature
    return signature != previous or folder.cancel_requested_at() is not None


def _is_over(folder: JobFolder) -> bool:
    start = folder.start()
    return folder.end() is not None and not (start and start.is_alive)


def _signature(folder: JobFolder) -> tuple[object, ...]:
    """Return a value that changes as soon as there is something to report, a death without a record included."""
    start = folder.start()
    gone = start is not None and start.is_here and not start.is_alive
    return (gone, *(_size_and_mtime(folder.path / file) for file in WATCHED_FILES))


def _size_and_mtime(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        stat = path.lstat()
        return stat.st_size, stat.st_mtime_ns
    return None
