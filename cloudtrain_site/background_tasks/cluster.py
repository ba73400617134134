"""Runs one django-q2 cluster: starts it, watches its workers' states, replaces it when it hangs."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from django.db import DatabaseError, Error, close_old_connections, connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ

from cloudtrain_site.background_tasks.cluster_forks import fork_cluster
from cloudtrain_site.background_tasks.heartbeats import FINISHED, FOLDER_VARIABLE, SAVED, Worker, WorkerStates
from cloudtrain_site.database.write_probe import forget_last_probe, write_failure
from cloudtrain_site.serving import processes
from cloudtrain_site.serving.processes import Child

logger = logging.getLogger("simpletuner.cloud.background")

CHECK_SECONDS = 1.0
#: A cluster without its full set of workers this long after its start won't get one.
START_SECONDS = 30.0
#: Tasks wait, a worker is free, and none is taken. Longer than the ten seconds for which django-q2 pauses after an
#: error of its broker.
STUCK_SECONDS = 14.0
#: Busy workers of a broken cluster may run on for this long before it is killed.
FINISH_SECONDS = 6.0
#: With the other steps of a stop this must stay below its ten seconds.
STOP_SECONDS = 6.0


class Diagnosis:
    """Reads one cluster's worker states again and again, and names what is wrong with it.

    A busy worker is left alone, however long it takes: django-q2 enforces its time limit.
    """

    def __init__(self, states: WorkerStates, size: int, started_at: float) -> None:
        self.states = states
        self.size = size
        self._short_since = started_at
        self._allowed_short = START_SECONDS
        self._unsaved_since: float | None = None
        self._idle_since: float | None = None

    def find_problem(self, tasks_wait: Callable[[], bool], now: float) -> str | None:
        """Return what is wrong, as half a sentence; None: nothing. To be called about once a second."""
        workers = list(self.states.workers())
        for worker in [worker for worker in workers if worker.has_vanished]:
            if not worker.is_busy:
                return "an idle worker died, perhaps with the lock of the queue"
            worker.path.unlink(missing_ok=True)  # killed while busy: it held no lock, and django-q2 replaces it
            workers.remove(worker)
        saver = self.states.saver()
        if saver is not None and not processes.is_running(saver):
            return "the process that saves results died"
        return self._too_few(workers, now) or self._unsaved(now) or self._stuck(workers, tasks_wait, now)

    def _too_few(self, workers: list[Worker], now: float) -> str | None:
        if len(workers) >= self.size:
            self._short_since, self._allowed_short = now, STUCK_SECONDS
        elif now - self._short_since > self._allowed_short:
            return f"only {len(workers)} of {self.size} workers are there"
        return None

    def _unsaved(self, now: float) -> str | None:
        if self.states.time_of(FINISHED) <= self.states.time_of(SAVED):
            self._unsaved_since = None
        elif self._unsaved_since is None or self.states.time_of(SAVED) > self._unsaved_since:
            self._unsaved_since = now
        elif now - self._unsaved_since > STUCK_SECONDS:
            return "results are no longer saved"
        return None

    def _stuck(self, workers: list[Worker], tasks_wait: Callable[[], bool], now: float) -> str | None:
        """Detect that tasks wait though a worker is free. Silence is no sign: another machine may be quicker."""
        is_free = any(not worker.is_busy for worker in workers)
        if not is_free or not tasks_wait():
            self._idle_since = None
            return None
        last_sign = max(worker.since for worker in workers)
        self._idle_since = max(self._idle_since or now, last_sign)
        if now - self._idle_since > STUCK_SECONDS:
            return "tasks wait and a free worker takes none"
        return None


def tasks_wait() -> bool:
    """Whether a task waits for a worker. False when that is unknown."""
    try:
        return bool(get_broker().queue_size())
    except Exception:  # each broker has its own errors, and the workers don't cause them
        connection.close()
        return False


def can_write() -> bool:
    """Whether the database is there and takes writes, at this very moment."""
    forget_last_probe()
    try:
        return write_failure() is None
    except Error:
        connection.close()
        return False


class ClusterSupervisor:
    """Runs one cluster at a time, from `run` in its own thread until `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def run(self) -> None:
        """Run until `stop`. Returns when the cluster has ended, early enough for a whole stop within ten seconds."""
        backoff = processes.Backoff()
        while not self.stop.is_set():
            started = time.monotonic()
            try:
                self._run_once()
            except Exception:
                # The child gets its death signal when this thread ends, so no error may end it early.
                logger.exception("Background workers could not be watched")
            if not self.stop.is_set():
                self.stop.wait(backoff.after(time.monotonic() - started))

    def _run_once(self) -> None:
        """Start a cluster and return when it has ended."""
        states = WorkerStates(Path(tempfile.mkdtemp(prefix="cloudtrain-signs-")))
        cluster = _start(states)
        grace_seconds = 0.0
        try:
            if self._watch(cluster, states) is None:
                grace_seconds = STOP_SECONDS
            else:
                self._let_finish(states)
        finally:
            processes.stop(cluster, grace_seconds)
            unlock_tasks(states)
            shutil.rmtree(states.folder, ignore_errors=True)

    def _watch(self, cluster: Child, states: WorkerStates) -> str | None:
        """Return the reason why the cluster must be replaced; None: `stop` was set."""
        diagnosis = Diagnosis(states, Conf.WORKERS, time.time())
        while not self.stop.wait(CHECK_SECONDS):
            close_old_connections()
            status = cluster.poll()
            reason = (
                diagnosis.find_problem(tasks_wait, time.time())
                if status is None
                else f"they ended with status {status}"
            )
            if reason is not None and status is None and not can_write():
                # Others would fare no better, and what these hold to be written later would be lost with them.
                states.forget_saver()
                diagnosis = Diagnosis(states, Conf.WORKERS, time.time())
            elif reason is not None:
                logger.error("Background workers are replaced: %s", reason, extra={"pid": cluster.pid})
                return reason
        return None

    def _let_finish(self, states: WorkerStates) -> None:
        """Wait until no living worker is busy any more, within FINISH_SECONDS."""
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline and any(w.is_busy and not w.has_vanished for w in states.workers()):
            if self.stop.wait(0.2):
                return


def _start(states: WorkerStates) -> Child:
    # Set explicitly: this may be a web process, whose pooled connections don't survive the fork of the workers.
    environment = {FOLDER_VARIABLE: str(states.folder), "CLOUDTRAIN_ROLE": "worker"}
    if forked := fork_cluster(environment):
        return forked
    return processes.start([*processes.MODULE_RUNNER, "cloudtrain_site", "qcluster"], env=environment)


def unlock_tasks(states: WorkerStates) -> int:
    """Unlock the tasks of killed workers for other workers. Returns how many.

    Without this the broker would lock each until its `retry` time is over.
    """
    numbers = [number for worker in states.workers() if (number := worker.current_task()) is not None]
    if not numbers or not Conf.ORM:
        return 0
    try:
        return int(OrmQ.objects.filter(pk__in=numbers).update(lock=timezone.now()))
    except DatabaseError:
        logger.warning("Tasks in hand could not be handed back", exc_info=True, extra={"tasks": len(numbers)})
        return 0
