"""The background tasks of one machine: the beat, the task workers, and the watchers; started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial

from django.db import close_old_connections, connection
from django.utils import timezone
from django.utils.module_loading import import_string

from cloudtrain_site import extensions
from cloudtrain_site.background_tasks.beat import fire_due, next_due
from cloudtrain_site.background_tasks.cluster import ClusterSupervisor
from cloudtrain_site.background_tasks.schedules import ScheduleRows
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.database.changes import Changes
from cloudtrain_site.monitoring.process_heartbeats import BACKGROUND, Heartbeat

logger = logging.getLogger("simpletuner.cloud.background")

BEAT_SECONDS = 1.0
_AT_ONCE = datetime.min.replace(tzinfo=UTC)
#: For all threads together after the signal to end; the cluster's takes six seconds at most.
JOIN_SECONDS = 8.0
#: Without a failure, until repeated work counts as working again.
RECOVERED_SECONDS = 10.0


class Outage:
    """Logs once when repeated work begins to fail, and once when it works again.

    It works again when it has not failed for ten seconds: work that has nothing to write at every other turn succeeds
    then, also while the database takes no writes, and would log several lines a second.
    """

    def __init__(self, message: str, **extra: object) -> None:
        self.message = message
        self.extra = extra
        self.since: float | None = None
        self.last_failure = 0.0

    def failed(self) -> None:
        """Log the current exception, unless the outage has begun already."""
        self.last_failure = time.monotonic()
        if self.since is None:
            self.since = self.last_failure
            logger.exception(self.message, extra=self.extra)

    def succeeded(self) -> None:
        """Log the end of the outage, if there was one and it is over."""
        if self.since is not None and time.monotonic() - self.last_failure >= RECOVERED_SECONDS:
            seconds = round(self.last_failure - self.since, 1)
            logger.info("Works again: %s", self.message, extra={**self.extra, "outage_seconds": seconds})
            self.since = None


class ScheduleBeat:
    """The beat of this process: once a second it corrects the schedule rows and fires those that are due.

    On SQLite it reads them only when one is due or somebody has written: each second that would be a fifth of what
    the site costs at rest.
    """

    def __init__(self) -> None:
        self.rows = ScheduleRows()
        self._changes = Changes(most_seconds=10.0)
        self._due_at: datetime | None = _AT_ONCE
        self.outage = Outage("Error in the beat")
        starts = {name: spec.start_failed for name, spec in extensions.loops.items() if spec.start_failed}
        self._failed_starts = {name: Outage(message) for name, message in starts.items()}
        self._running: dict[str, bool] = {}

    def beat(self) -> None:
        """Beat once. Never raises: the next beat is in a second."""
        now = timezone.now()
        try:
            close_old_connections()
            is_due = self._due_at is not None and self._due_at <= now
            if self.rows.sync(now, may_differ=self._changes.found() or is_due):
                fire_due(now)
                self._due_at = next_due()
        except Exception:
            self._due_at = _AT_ONCE
            awaited = [outage for name, outage in self._failed_starts.items() if name not in self._running]
            for outage in awaited or [self.outage]:
                outage.failed()
            connection.close()
        else:
            for outage in (self.outage, *self._failed_starts.values()):
                outage.succeeded()
            self._log_changes()

    def _log_changes(self) -> None:
        """Log which loops were switched on or off since the last beat, where they have a message for it."""
        for name, plan in self.rows.plans.items():
            was_running, self._running[name] = self._running.get(name, False), plan.enabled
            if plan.enabled is was_running:
                continue
            spec = extensions.loops[name]
            if message := spec.started if plan.enabled else spec.stopped:
                logger.info(message, extra={"interval_seconds": plan.seconds} if plan.enabled else None)


class BackgroundTaskManager:
    """Runs the background tasks of this process. Any number of processes, on any machines, may run one each."""

    def __init__(self) -> None:
        self._running = False
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._heartbeat = Heartbeat(BACKGROUND)
        self._lock = threading.Lock()

    async def start(self) -> None:
        """Start everything. Does nothing when it runs already."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Let running work end, or unlock it for others, within ten seconds. Does nothing when nothing runs."""
        await asyncio.to_thread(self._end)

    def _start(self) -> None:
        with self._lock:
            if self._running:
                return
            self._stop = threading.Event()
            beat, supervisor = ScheduleBeat(), ClusterSupervisor(self._stop)
            targets: list[tuple[str, Callable[[], None]]] = [
                ("beat", partial(_every, BEAT_SECONDS, beat.beat, self._stop)),
                ("workers", supervisor.run),
                *(
                    (name, partial(_every, watcher.seconds, _watcher(name, watcher.task), self._stop))
                    for name, watcher in extensions.watchers.items()
                ),
            ]
            self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in targets]
            for thread in self._threads:
                thread.start()
            self._heartbeat = Heartbeat(BACKGROUND)
            self._heartbeat.start()
            self._running = True

    def _end(self) -> None:
        with self._lock:
            if not self._running:
                return
            self._stop.set()
            deadline = time.monotonic() + JOIN_SECONDS
            self._heartbeat.end()
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            self._threads = []
            self._running = False


def _every(seconds: float, work: Callable[[], None], stop: threading.Event) -> None:
    """Call `work` at every multiple of `seconds` until `stop`; a multiple that passes during a call is left out."""
    try:
        while not stop.is_set():
            work()
            # Ticks are due at whole seconds: a beat just then, and not a random part of a second later, saves half a
            # second of waiting on average.
            stop.wait(seconds - time.time() % seconds)
    finally:
        connection.close()


def _watcher(name: str, path: str) -> Callable[[], None]:
    outage = Outage("Watcher failed", watcher=name)

    def watch() -> None:
        try:
            close_old_connections()
            with correlation():
                import_string(path)()
        except Exception:
            outage.failed()
            connection.close()
        else:
            outage.succeeded()

    return watch


@cache
def get_task_manager() -> BackgroundTaskManager:
    """Return the one manager of this process."""
    return BackgroundTaskManager()


async def start_background_tasks() -> None:
    """Start the background tasks of this process, at an application's start or by `manage.py background`."""
    await get_task_manager().start()


async def stop_background_tasks() -> None:
    """Stop them in order, at an application's end."""
    await get_task_manager().stop()
