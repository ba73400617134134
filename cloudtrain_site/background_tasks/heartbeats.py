"""The states of the task workers, which each of them writes to a small file for the supervisor.

django-q2 can hang for ever while all its processes seem alive: a worker that is killed while it waits for a task keeps
the queue's lock, and no other worker ever gets one again. So each worker records whether it is idle or busy, and the
process that saves the results records when it last did. `cluster.py` reads the files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path
from types import FrameType
from typing import Any

from cloudtrain_site.serving.processes import follow_parent, is_running

FOLDER_VARIABLE = "CLOUDTRAIN_SIGNS_FOLDER"
IDLE, BUSY = "idle", "busy"
FINISHED, SAVED = "finished", "saved"
#: A cluster whose supervisor has died may finish its tasks within this time.
ORPHAN_GRACE_SECONDS = 5


@dataclass(frozen=True)
class Worker:
    """One worker as its state file describes it."""

    pid: int
    is_busy: bool
    since: float
    path: Path

    @property
    def has_vanished(self) -> bool:
        """Whether it died without removing its file."""
        # In this order: a worker that ends properly removes its file first.
        return not is_running(self.pid) and self.path.exists()

    def current_task(self) -> int | None:
        """Return the broker's id of its current task; None without one, or with a broker that has no ids."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None


class WorkerStates:
    """The state files of one cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def workers(self) -> Iterator[Worker]:
        """Yield each worker that has started and not ended properly."""
        for state in (IDLE, BUSY):
            for path in self.folder.glob(f"*.{state}"):
                with suppress(OSError):  # it changed its state, or ended, meanwhile
                    yield Worker(int(path.stem), state == BUSY, path.stat().st_mtime, path)

    def time_of(self, mark: str) -> float:
        """Return when FINISHED or SAVED was last set, as a Unix time; 0.0: never."""
        with suppress(OSError):
            return (self.folder / mark).stat().st_mtime
        return 0.0

    def saver(self) -> int | None:
        """Return the id of the process that saves the results; None before the first result."""
        with suppress(OSError, ValueError):
            return int((self.folder / SAVED).read_text())
        return None

    def forget_saver(self) -> None:
        """Have `saver` return None until the next result is saved: django-q2 replaces one that an error ended."""
        (self.folder / SAVED).unlink(missing_ok=True)


class _Reporter:
    """The worker's side. A state file that can't be written stays as it is, and never breaks a task."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def worker_begins(self, **kwargs: Any) -> None:
        pid = os.getpid()
        with suppress(OSError):
            self._path(pid, IDLE).touch()
        util.Finalize(None, self._worker_leaves, args=(pid,), exitpriority=10)

    def task_begins(self, task: dict[str, Any], **kwargs: Any) -> None:
        pid = os.getpid()
        with suppress(OSError):
            self._path(pid, IDLE).write_text(str(task.get("ack_id", "")))
            self._path(pid, IDLE).rename(self._path(pid, BUSY))

    def task_ends(self, **kwargs: Any) -> None:
        pid = os.getpid()
        with suppress(OSError):
            (self.folder / FINISHED).touch()
            self._path(pid, BUSY).rename(self._path(pid, IDLE))
            self._path(pid, IDLE).write_text("")

    def result_saved(self, **kwargs: Any) -> None:
        with suppress(OSError):
            (self.folder / SAVED).write_text(str(os.getpid()))

    def _worker_leaves(self, pid: int) -> None:
        for state in (IDLE, BUSY):
            self._path(pid, state).unlink(missing_ok=True)

    def _path(self, pid: int, state: str) -> Path:
        return self.folder / f"{pid}.{state}"


def connect_heartbeats() -> None:
    """In a supervised cluster, end with the supervisor and write the state files. Elsewhere do nothing."""
    # Removed from the environment, so that a program that a task starts doesn't report as the cluster.
    folder = os.environ.pop(FOLDER_VARIABLE, "")
    if not folder:
        return
    signal.signal(signal.SIGUSR1, _end_soon)
    follow_parent(signal.SIGUSR1)
    _connect(_Reporter(Path(folder)))


def _connect(reporter: _Reporter) -> None:
    from django_q import signals

    for source, receiver in (
        (signals.post_spawn, reporter.worker_begins),
        (signals.pre_execute, reporter.task_begins),
        (signals.post_execute_in_worker, reporter.task_ends),
        (signals.post_execute, reporter.result_saved),
    ):
        source.connect(receiver, weak=False, dispatch_uid=f"heartbeats.{receiver.__name__}")


def _end_soon(signum: int, frame: FrameType | None) -> None:
    """End in order after the supervisor's death, and by force when that hangs."""
    signal.signal(signal.SIGALRM, _end_now)
    signal.alarm(ORPHAN_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_now(signum: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)
