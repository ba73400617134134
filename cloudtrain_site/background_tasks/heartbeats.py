"""How the supervisor knows that the task workers live: each leaves its state as a small file.

django-q2 can hang for ever while all its processes look alive: a worker that is killed while it waits for a
task takes the queue's lock with it, and no other worker ever gets one again. So each worker writes down whether
it is idle or busy, and the process that saves the results writes down when it last did. `cluster.py` reads it.
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
#: A cluster whose supervisor is gone may finish what it does for so long.
ORPHAN_GRACE_SECONDS = 5


@dataclass(frozen=True)
class Worker:
    """One worker as it last described itself."""

    pid: int
    is_busy: bool
    since: float
    path: Path

    @property
    def has_vanished(self) -> bool:
        """Whether it ended without leaving properly."""
        # In this order: one that leaves takes its file away first.
        return not is_running(self.pid) and self.path.exists()

    def task_in_hand(self) -> int | None:
        """The broker's number of the task that it works on; None without one, or with a broker that has none."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None


class WorkerStates:
    """The state files of one cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def workers(self) -> Iterator[Worker]:
        """Every worker that has begun and not left."""
        for state in (IDLE, BUSY):
            for path in self.folder.glob(f"*.{state}"):
                with suppress(OSError):  # it changed its state, or left, while we were reading
                    yield Worker(int(path.stem), state == BUSY, path.stat().st_mtime, path)

    def time_of(self, mark: str) -> float:
        """When FINISHED or SAVED was last set; 0.0 for never."""
        with suppress(OSError):
            return (self.folder / mark).stat().st_mtime
        return 0.0

    def saver(self) -> int | None:
        """The process that saves the results; None before the first result."""
        with suppress(OSError, ValueError):
            return int((self.folder / SAVED).read_text())
        return None


class _Reporter:
    """The side of the worker. A file that can't be written must never break a task: it is left as it was."""

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


def connect_signs_of_life() -> None:
    """In a supervised cluster: end with the supervisor, and leave the files that it reads. Elsewhere nothing."""
    # Taken out of the environment, so that a program that a task starts doesn't think that it is the cluster.
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
        source.connect(receiver, weak=False, dispatch_uid=f"signs_of_life.{receiver.__name__}")


def _end_soon(signum: int, frame: FrameType | None) -> None:
    """The supervisor is gone: end in order, and by force when that hangs, so that no cluster is left on its own."""
    signal.signal(signal.SIGALRM, _end_now)
    signal.alarm(ORPHAN_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_now(signum: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)
