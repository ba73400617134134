"""A run of a background loop: never two at once, never for a stale tick, always recorded."""

from __future__ import annotations

import functools
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.correlation_ids import correlation, current_correlation_id
from cloudtrain_site.models import Loop, LoopRun
from cloudtrain_site.redaction import mask_text

logger = logging.getLogger("simpletuner.cloud.background")

#: A killed run blocks its loop for at most this long; a living one renews its lease earlier.
LEASE = timedelta(seconds=20)
RENEW_SECONDS = 5.0
#: Otherwise the queue's tick every five seconds would leave 17,280 rows a day without information.
IDLE_RECORD_INTERVAL = timedelta(minutes=1)
MACHINE = socket.gethostname()[:100]

MAX_TEXT_CHARACTERS = 2000

OK, FAILED, SKIPPED = "ok", "failed", "skipped"

Task = Callable[..., Any]


def loop(name: str, *, failure_message: str | None = None) -> Callable[[Task], Task]:
    """Make the decorated function a run of the loop `name`.

    The run is skipped while another one runs, on any machine, and when its tick is so old that the next one is due. Its
    end is recorded; its return value is its result: a count, or counts by name. An error is logged as `failure_message`
    and raised again, so that django-q2 keeps the task among the failed ones.
    """

    def decorate(task: Task) -> Task:
        @functools.wraps(task)
        def run(*, intended: str | None = None, every: float | None = None) -> Any:
            # A scheduled task has a correlation id; any other caller gets one for the run.
            with correlation(current_correlation_id()):
                if reason := _staleness(intended, every):
                    return _skip(name, reason)
                token = take_lease(name)
                if token is None:
                    return _skip(name, "the previous run has not ended")
                return _run(task, Run(name, token, failure_message or f"Error in {name}"))

        return run

    return decorate


@dataclass
class Run:
    """One run that holds the lease of its loop."""

    loop: str
    token: str
    failure_message: str


def _staleness(intended: str | None, every: float | None) -> str | None:
    """Return why a tick is too old to run; None: it isn't, or this is no tick."""
    if intended is None or every is None:
        return None
    age = timezone.now() - datetime.fromisoformat(intended)
    return f"the tick is {age.total_seconds():.0f} s old" if age > timedelta(seconds=every) else None


def take_lease(name: str) -> str | None:
    """Take the loop's lease for a run that starts now. Returns its token; None: another run holds it."""
    now = timezone.now()
    token = secrets.token_hex(16)
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    lease = {"lease_token": token, "lease_until": now + LEASE, "last_started_at": now, "last_machine": MACHINE}
    if Loop.objects.filter(free, pk=name).update(**lease):
        return token
    # The beat creates the row; a run before the first beat creates it too.
    _, is_new = Loop.objects.get_or_create(name=name, defaults={"interval_seconds": 0.0, "enabled": False, **lease})
    return token if is_new else None


class KeptLease(AbstractContextManager["KeptLease"]):
    """Renews a run's lease during its block. Only a run of more than five seconds costs a connection."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._ended = threading.Event()
        self.timer = threading.Timer(RENEW_SECONDS, self._renew)
        self.timer.daemon = True

    def __enter__(self) -> KeptLease:
        self.timer.start()
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self.timer.cancel()

    def _renew(self) -> None:
        try:
            while not self._ended.is_set():
                Loop.objects.filter(pk=self.run.loop, lease_token=self.run.token).update(
                    lease_until=timezone.now() + LEASE
                )
                self._ended.wait(RENEW_SECONDS)
        except DatabaseError:
            # The lease runs out, and a second run may begin. That does no harm, since all claims are conditional.
            logger.warning("Lease of a loop could not be renewed", exc_info=True, extra={"loop": self.run.loop})
        finally:
            connection.close()


def _run(task: Task, run: Run) -> Any:
    started_at, started = timezone.now(), time.monotonic()
    record = functools.partial(_record, run, started_at, started)
    try:
        with KeptLease(run):
            result = task()
    except BaseException as error:  # django-q2's time limit is a SystemExit
        duration_ms = record(FAILED, error=f"{type(error).__name__}: {error}")
        logger.exception(run.failure_message, extra={"loop": run.loop, "duration_ms": duration_ms})
        raise
    record(OK, result=result)
    return result


def _record(
    run: Run, started_at: datetime, started: float, outcome: str, *, result: Any = None, error: str = ""
) -> float:
    """Release the lease and record the run; a run without work gets a row at most once a minute. Returns its ms."""
    now = timezone.now()
    duration_ms = round((time.monotonic() - started) * 1000, 1)
    error, result = _storable_text(error), _storable(result)
    is_idle = outcome == OK and not _did_something(result)
    try:
        with transaction.atomic():
            if not is_idle or _claim_idle_record(run.loop, now):
                _insert_run(run.loop, started_at, duration_ms, outcome, result, error)
            # A run that lost its lease changes nothing here: the columns describe the holder.
            Loop.objects.filter(pk=run.loop, lease_token=run.token).update(
                lease_token=None,
                lease_until=None,
                last_finished_at=now,
                last_duration_ms=duration_ms,
                last_outcome=outcome,
                last_error=error,
                last_result=result,
            )
    except DatabaseError:
        # The run's work is done: a missing record must not make it a failure, or hide the error that ended it.
        logger.warning("Run of a loop could not be recorded", exc_info=True, extra={"loop": run.loop})
    return duration_ms


def _storable(result: Any) -> Any:
    """Return `result` as a JSON column takes it."""
    try:
        return json.loads(json.dumps(result, allow_nan=False))
    except (TypeError, ValueError):
        return repr(result)[:MAX_TEXT_CHARACTERS]


def _storable_text(text: str) -> str:
    """Return `text` without secrets, and without the NULs that PostgreSQL refuses."""
    return mask_text(text.replace("\0", ""))[:MAX_TEXT_CHARACTERS]


def _did_something(result: Any) -> bool:
    return any(result.values()) if isinstance(result, Mapping) else bool(result)


def _claim_idle_record(name: str, now: datetime) -> bool:
    """Whether a run without work may be recorded: one a minute, on whichever machine."""
    due = Q(last_recorded_at=None) | Q(last_recorded_at__lte=now - IDLE_RECORD_INTERVAL)
    return bool(Loop.objects.filter(due, pk=name).update(last_recorded_at=now))


def _insert_run(name: str, at: datetime, duration_ms: float, outcome: str, result: Any = None, error: str = "") -> None:
    LoopRun.objects.create(
        loop_id=name,
        started_at=at,
        duration_ms=duration_ms,
        outcome=outcome,
        result=result,
        error=error,
        correlation_id=current_correlation_id() or "",
        machine=MACHINE,
    )


def _skip(name: str, reason: str) -> str:
    """Record a skipped tick. The loop's own columns stay: they describe the last real run."""
    now = timezone.now()
    if _claim_idle_record(name, now):
        _insert_run(name, now, 0.0, SKIPPED, error=reason)
    logger.debug("Tick skipped: %s", reason, extra={"loop": name})
    return f"{SKIPPED}: {reason}"
