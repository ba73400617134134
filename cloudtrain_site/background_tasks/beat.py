"""The beat: fires each due schedule row once, on however many machines it runs.

It fires the loops' rows itself, to the second. django-q2's own scheduler fires the rows that people added.
"""

from __future__ import annotations

import ast
import logging
from datetime import datetime, timedelta
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Any, NoReturn

from django.db import OperationalError, transaction
from django.db.models import F, Q
from django.utils import timezone
from django_q import scheduler as library
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import Schedule, Task
from django_q.tasks import async_task

from cloudtrain_site.background_tasks.schedules import INTENDED, PARKED, is_loops_row, tick_after, tick_before
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.database.failures import failure_of
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.redaction import mask_text

logger = logging.getLogger("simpletuner.cloud.background")

#: django-q2 advances tick by tick with the row locked, at 10 microseconds a tick: 14 ms for a day of minutes.
MAX_CATCH_UP = timedelta(days=1)
#: The scheduler of another cluster fires the rows that name it.
OF_OUR_CLUSTER = Q(cluster=None) | Q(cluster=Conf.CLUSTER_NAME)


_NEXT_DUE = Prepared(
    lambda: (
        Schedule.objects.filter(OF_OUR_CLUSTER)
        .exclude(repeats=0)
        .exclude(next_run=None)
        .order_by("next_run")
        .values_list("next_run", flat=True)[:1]
    )
)


def next_due() -> datetime | None:
    """Return when `fire_due` has something to do next; None: never, as the rows are."""
    return _NEXT_DUE.first()


def fire_due(now: datetime) -> None:
    """Fire every row that is due at `now`.

    A row that can't be fired is parked for a minute, is shown as failed in the admin, and doesn't stop the others. An
    error of the database is raised after the last row, and its row is due again at the next beat.
    """
    database_error: Exception | None = None
    for row in Schedule.objects.filter(OF_OUR_CLUSTER, next_run__lte=now).exclude(repeats=0).order_by("next_run"):
        try:
            # Each run gets a correlation id of its own.
            with correlation():
                _fire_loop(row, now) if is_loops_row(row) else _fire_persons_row(row, now)
        except OperationalError as error:
            database_error = error
        except Exception as error:
            if failure_of(error) is not None:
                database_error = error
                continue
            logger.exception("Schedule could not be fired", extra={"schedule": row.name or row.pk, "task": row.func})
            _park(row, now, error)
    if database_error is not None:
        raise database_error


@transaction.atomic
def _fire_loop(row: Schedule, now: datetime) -> None:
    """Advance a loop's row and enqueue its task, unless another beat was quicker."""
    every: float = ast.literal_eval(row.kwargs)["every"]
    # Exactly the row that was read: only the beat that advances it has the tick.
    if not Schedule.objects.filter(pk=row.pk, next_run=row.next_run).update(next_run=tick_after(now, every)):
        return
    # After an hour of downtime the tick is the latest one: the one of an hour ago would be skipped as stale.
    enqueue = partial(_enqueue, row, {"every": every, INTENDED: tick_before(now, every).isoformat()})
    if Conf.ORM:
        enqueue()
    else:
        # Redis has no transaction: before the commit, a task could run whose tick is rolled back. If enqueueing fails,
        # this tick is lost, and the next one does its work.
        transaction.on_commit(enqueue)


def _enqueue(row: Schedule, kwargs: dict[str, Any]) -> None:
    task_id = async_task(row.func, q_options={"group": row.name}, **kwargs)
    Schedule.objects.filter(pk=row.pk).update(task=task_id)


class _RaisingLogger(logging.LoggerAdapter[logging.Logger]):
    """The library's logger, which raises the errors that the library would only log."""

    def exception(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise  # the exception that the library is handling


def _fire_persons_row(row: Schedule, now: datetime) -> None:
    """Have django-q2's scheduler fire `row`, if it is still due. Raises the row's error.

    The scheduler locks the row (PostgreSQL) or the database (SQLite), so that two beats don't fire it twice. By itself
    it fires all due rows in one transaction and swallows their errors: a single bad row rolls back all others each
    time, and with Redis, which has their tasks by then, enqueues them again each time. So it runs here with two of its
    globals replaced: its query finds only this row, and its logger raises.
    """
    _skip_to_latest_tick(row, now)
    this_row = SimpleNamespace(objects=Schedule.objects.filter(pk=row.pk))
    replaced_globals = {**vars(library), "Schedule": this_row, "logger": _RaisingLogger(library.logger)}
    FunctionType(library.scheduler.__code__, replaced_globals)(get_broker())


def _skip_to_latest_tick(row: Schedule, now: datetime) -> None:
    """Advance a long overdue row to its latest tick, if its type has evenly spaced ticks."""
    periods = {Schedule.MINUTES: timedelta(minutes=row.minutes or 1), Schedule.HOURLY: timedelta(hours=1)}
    period = periods.get(row.schedule_type)
    if period is not None and now - row.next_run > MAX_CATCH_UP:
        latest = row.next_run + (now - row.next_run) // period * period
        Schedule.objects.filter(pk=row.pk, next_run=row.next_run).update(next_run=latest)
        row.next_run = latest


def _park(row: Schedule, now: datetime, error: Exception) -> None:
    """Postpone the row by a minute, and store the reason as a failed task that the row names, for the admin."""
    text = mask_text(f"{type(error).__name__}: {error}".replace("\0", ""))
    task_id = f"parked-schedule-{row.pk}"
    try:
        with transaction.atomic():
            if not Schedule.objects.filter(pk=row.pk, next_run=row.next_run).update(
                next_run=now + PARKED, task=task_id
            ):
                return
            outcome = {"stopped": timezone.now(), "result": text, "success": False, "func": row.func}
            identity = {"name": (row.name or str(row.pk))[:100], "group": row.name, "started": timezone.now()}
            Task.objects.get_or_create(id=task_id, defaults={**outcome, **identity})
            Task.objects.filter(id=task_id).update(**outcome, attempt_count=F("attempt_count") + 1)
    except Exception:
        # The next beat tries again; the database itself may be the cause.
        logger.warning("Schedule could not be parked", exc_info=True, extra={"schedule": row.pk})
