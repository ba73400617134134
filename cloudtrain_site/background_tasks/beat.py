"""The beat: fires each schedule row that is due, once, on however many machines it beats.

django-q2 has a scheduler of its own, but that looks every 30 seconds, and one bad row stops all the others.
"""

from __future__ import annotations

import ast
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import F
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Schedule, Task
from django_q.tasks import async_task

from cloudtrain_site.background_tasks.schedules import PARKED, is_loops_row, tick_after, tick_before
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.redaction import mask_text

logger = logging.getLogger("simpletuner.cloud.background")


def fire_due(now: datetime) -> int:
    """Fire every row that is due at `now`; returns how many this call fired.

    A row that can't be fired is parked for a minute, is shown as failed in the admin, and stops no other. Where the
    database is to blame, its error is raised in the end, and the row is due again at the next beat.
    """
    fired, trouble = 0, None
    for row in Schedule.objects.filter(next_run__lte=now).exclude(repeats=0).order_by("next_run"):
        try:
            # Each run is work of its own, and so has an id of its own.
            with correlation(), transaction.atomic():
                fired += _fire(row, now)
        except OperationalError as error:
            trouble = error
        except Exception as error:
            logger.exception("Schedule could not be fired", extra={"schedule": row.name or row.pk, "task": row.func})
            _park(row, now, error)
    if trouble is not None:
        raise trouble
    return fired


@dataclass(frozen=True)
class _Call:
    """What a row has to be enqueued with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    next_run: datetime | None


def _fire(row: Schedule, now: datetime) -> bool:
    """Move `row` on and enqueue its task, in the caller's transaction. False: another beat was quicker."""
    call = _call_of(row, now)
    # Exactly the row that was read: whoever moves it has the tick, and everybody else has nothing.
    due = Schedule.objects.filter(pk=row.pk, next_run=row.next_run, repeats=row.repeats)
    if call.next_run is None:
        if not due.update(repeats=0):
            return False
    elif not due.update(next_run=call.next_run, repeats=row.repeats - 1 if row.repeats > 0 else -1):
        return False
    if Conf.ORM:
        _enqueue(row, call)
    else:
        # Redis knows no transaction: before the commit a task could run that never was. Should the enqueueing
        # fail, this tick is lost, and the next one finds in the rows whatever it would have done.
        transaction.on_commit(partial(_enqueue, row, call))
    return True


def _enqueue(row: Schedule, call: _Call) -> None:
    task_id = async_task(row.func, *call.args, q_options=call.options, **call.kwargs)
    rows = Schedule.objects.filter(pk=row.pk)
    if call.next_run is None and row.repeats < 0:
        rows.delete()  # as django-q2 does with a row that was to run once
    else:
        rows.update(task=task_id)


def _call_of(row: Schedule, now: datetime) -> _Call:
    """Read the row. Raises ValueError, or what croniter raises, for one that can't be understood."""
    kwargs = _kwargs_of(row)
    options = {"group": row.name or str(row.pk), **kwargs.pop("q_options", {})}
    if row.cluster:
        options["cluster"] = row.cluster
    if row.hook:
        options["hook"] = row.hook
    every = kwargs.get("every") if is_loops_row(row) else None
    # After an hour of being down a loop's tick is the latest one, not the one of an hour ago, which would be stale.
    intended = tick_before(now, every) if every else row.next_run
    if row.intended_date_kwarg:
        kwargs[row.intended_date_kwarg] = intended.isoformat()
    next_run = tick_after(now, every) if every else _following(row, now)
    return _Call(_args_of(row), kwargs, options, next_run)


def _args_of(row: Schedule) -> tuple[Any, ...]:
    args = ast.literal_eval(row.args) if row.args else ()
    return args if isinstance(args, tuple) else (args,)


def _kwargs_of(row: Schedule) -> dict[str, Any]:
    """Both spellings that django-q2 knows: a dict, or `x=1, y=2`. It runs a bad one without them; we refuse it."""
    text = (row.kwargs or "").strip()
    if not text:
        return {}
    if not text.startswith("{"):
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError(f"these are no keyword arguments: {text}")
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    kwargs = ast.literal_eval(text)
    if not isinstance(kwargs, dict):
        raise ValueError(f"these are no keyword arguments: {text}")
    return kwargs


def _following(row: Schedule, now: datetime) -> datetime | None:
    """When a person's row is due after `now`; None for never again. What was missed is not made up for."""
    if row.schedule_type == Schedule.ONCE:
        return None
    if row.schedule_type in (Schedule.MINUTES, Schedule.HOURLY):
        # At once: a row for every minute that slept for a year would be asked half a million times.
        period = timedelta(hours=1) if row.schedule_type == Schedule.HOURLY else timedelta(minutes=row.minutes or 1)
        due: datetime = row.next_run
        return due + ((now - due) // period + 1) * period
    at: datetime = row.calculate_next_run(row.next_run)
    while at <= now:
        at = row.calculate_next_run(at)
    return at


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
