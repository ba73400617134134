"""The beat: fires each schedule row that is due, once, on however many machines it beats.

The loops' rows are fired here, to the second. Those that people added are fired by django-q2's own scheduler.
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
from cloudtrain_site.redaction import mask_text

logger = logging.getLogger("simpletuner.cloud.background")

#: django-q2 counts from tick to tick with the row locked, at 10 microseconds a tick: 14 ms for a day of minutes.
LONGEST_COUNT = timedelta(days=1)
#: A row that a person meant for another cluster than ours is for that one's scheduler to fire.
OF_OUR_CLUSTER = Q(cluster=None) | Q(cluster=Conf.CLUSTER_NAME)


def fire_due(now: datetime) -> None:
    """Fire every row that is due at `now`.

    A row that can't be fired is parked for a minute, is shown as failed in the admin, and stops no other. Where the
    database is to blame, its error is raised in the end, and the row is due again at the next beat.
    """
    trouble = None
    for row in Schedule.objects.filter(OF_OUR_CLUSTER, next_run__lte=now).exclude(repeats=0).order_by("next_run"):
        try:
            # Each run is work of its own, and so has an id of its own.
            with correlation():
                _fire_loop(row, now) if is_loops_row(row) else _fire_persons_row(row, now)
        except OperationalError as error:
            trouble = error
        except Exception as error:
            logger.exception("Schedule could not be fired", extra={"schedule": row.name or row.pk, "task": row.func})
            _park(row, now, error)
    if trouble is not None:
        raise trouble


@transaction.atomic
def _fire_loop(row: Schedule, now: datetime) -> None:
    """Move a loop's row on and enqueue its task, if no other beat was quicker."""
    every: float = ast.literal_eval(row.kwargs)["every"]
    # Exactly the row that was read: whoever moves it has the tick, and everybody else has nothing.
    if not Schedule.objects.filter(pk=row.pk, next_run=row.next_run).update(next_run=tick_after(now, every)):
        return
    # After an hour of being down a loop's tick is the latest one, not the one of an hour ago, which would be stale.
    enqueue = partial(_enqueue, row, {"every": every, INTENDED: tick_before(now, every).isoformat()})
    if Conf.ORM:
        enqueue()
    else:
        # Redis knows no transaction: before the commit a task could run that never was. Should the enqueueing
        # fail, this tick is lost, and the next one finds in the rows whatever it would have done.
        transaction.on_commit(enqueue)


def _enqueue(row: Schedule, kwargs: dict[str, Any]) -> None:
    task_id = async_task(row.func, q_options={"group": row.name}, **kwargs)
    Schedule.objects.filter(pk=row.pk).update(task=task_id)


class _RaisingLogger(logging.LoggerAdapter[logging.Logger]):
    """The library's logger, but that an error which the library would log and forget goes on to the caller."""

    def exception(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise  # what the library is handling at this moment


def _fire_persons_row(row: Schedule, now: datetime) -> None:
    """Have django-q2's scheduler fire `row`, if it is still due. Raises what the row makes it raise.

    It locks the row (PostgreSQL) or has the database to itself (SQLite), so that two beats don't fire it twice. By
    itself it fires all due rows in one transaction and keeps the error of one for itself: a single bad row undoes all
    others at every look, and with Redis, which has their tasks by then, enqueues them again each time. So it is run
    here with names of ours in two places: the rows that it finds are this one, and its logger raises.
    """
    _spare_the_count(row, now)
    this_row = SimpleNamespace(objects=Schedule.objects.filter(pk=row.pk))
    names = {**vars(library), "Schedule": this_row, "logger": _RaisingLogger(library.logger)}
    FunctionType(library.scheduler.__code__, names)(get_broker())


def _spare_the_count(row: Schedule, now: datetime) -> None:
    """Let a row that slept for long go on from its latest tick; its type must be one whose ticks are evenly spaced."""
    periods = {Schedule.MINUTES: timedelta(minutes=row.minutes or 1), Schedule.HOURLY: timedelta(hours=1)}
    period = periods.get(row.schedule_type)
    if period is not None and now - row.next_run > LONGEST_COUNT:
        latest = row.next_run + (now - row.next_run) // period * period
        Schedule.objects.filter(pk=row.pk, next_run=row.next_run).update(next_run=latest)
        row.next_run = latest


def _park(row: Schedule, now: datetime, error: Exception) -> None:
    """Leave the row alone for a minute, and say why where the admin looks: in a failed task that the row names."""
    text = mask_text(f"{type(error).__name__}: {error}".replace("\0", ""))
    task_id = f"parked-schedule-{row.pk}"
    try:
        with transaction.atomic():
            if not Schedule.objects.filter(pk=row.pk, next_run=row.next_run).update(
                next_run=now + PARKED, task=task_id
            ):
                return
            said = {"stopped": timezone.now(), "result": text, "success": False, "func": row.func}
            named = {"name": (row.name or str(row.pk))[:100], "group": row.name, "started": timezone.now()}
            Task.objects.get_or_create(id=task_id, defaults={**said, **named})
            Task.objects.filter(id=task_id).update(**said, attempt_count=F("attempt_count") + 1)
    except Exception:
        # The next second tries again; what broke the row may be the database itself.
        logger.warning("Schedule could not be parked", exc_info=True, extra={"schedule": row.pk})
