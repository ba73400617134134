"""The schedule rows of the loops, kept as the configuration requires and shown in the admin."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string
from django_q.models import Schedule

from cloudtrain_site import extensions
from cloudtrain_site.extensions import LoopSpec
from cloudtrain_site.models import Loop

logger = logging.getLogger("simpletuner.cloud.background")

#: The keyword argument with the time of a run's tick.
INTENDED = "intended"
#: The pause of a row that can't be fired.
PARKED = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """One loop's configuration at this moment."""

    name: str
    task: str
    seconds: float
    enabled: bool


def plan_of(name: str, spec: LoopSpec) -> Plan:
    """Read the loop's interval and whether it is enabled. Raises the error of either."""
    enabled = bool(import_string(spec.is_enabled)()) if spec.is_enabled else True
    return Plan(name, spec.task, float(spec.seconds()), enabled)


def tick_before(now: datetime, seconds: float) -> datetime:
    """Return the last tick up to `now`. All machines count from the same moment, so they agree on the ticks."""
    period = timedelta(seconds=seconds)
    return EPOCH + (now - EPOCH) // period * period


def tick_after(now: datetime, seconds: float) -> datetime:
    return tick_before(now, seconds) + timedelta(seconds=seconds)


def cron_of(seconds: float) -> str | None:
    """Return the six-field cron expression, seconds last, with exactly these ticks; None: cron can't express them."""
    for unit, parts, pattern in (
        (1, 60, "* * * * * {}"),
        (60, 60, "{} * * * * 0"),
        (3600, 24, "0 {} * * * 0"),
        (86400, 1, "0 0 * * * 0"),
    ):
        steps = seconds / unit
        if steps < parts or parts == 1:
            # A step must divide its field: */45 means 0 and 45 of every minute, 15 seconds apart.
            divides = steps == int(steps) and steps >= 1 and parts % int(steps) == 0
            return pattern.format("*" if steps == 1 else f"*/{int(steps)}") if divides else None
    return None


def _row_fields(plan: Plan) -> dict[str, Any]:
    """Return the columns that show a loop's plan. The beat computes `next_run` from `every` alone."""
    cron = cron_of(plan.seconds)
    minutes = plan.seconds / 60
    fields: dict[str, Any] = {
        "kwargs": repr({"every": plan.seconds}),
        "args": None,
        "intended_date_kwarg": INTENDED,
        "repeats": -1,
        "cron": cron,
        "minutes": None,
    }
    if cron is not None:
        return {**fields, "schedule_type": Schedule.CRON}
    if minutes == int(minutes):
        return {**fields, "schedule_type": Schedule.MINUTES, "minutes": int(minutes)}
    # Neither can express "every 45 seconds": the row has the next tick alone, and the beat sets the one after.
    return {**fields, "schedule_type": Schedule.ONCE}


class ScheduleRows:
    """Keeps the loops' schedule rows as the configuration requires; rows that people added are not touched.

    A machine stores a loop's plan when its own configuration changes; every machine makes the rows match the stored
    plan. So two machines with different files don't overwrite each other at every tick: the last change wins.
    """

    def __init__(self, loops: Mapping[str, LoopSpec] = extensions.loops) -> None:
        self.loops = loops
        self.plans: dict[str, Plan] = {}
        self._broken: set[str] = set()

    def sync(self, now: datetime, *, may_differ: bool = True) -> bool:
        """Read every loop's configuration, and correct each row that differs. Cheap when none does.

        The rows are read if they `may_differ` or a configuration has changed. Returns whether they were.
        """
        changed = [plan for name in self.loops if (plan := self._changed_plan(name)) is not None]
        if not (changed or may_differ):
            return False
        for plan in changed:
            _store_plan(plan, now)
            self.plans[plan.name] = plan
        stored_loops = Loop.objects.in_bulk(list(self.loops))
        rows = list(Schedule.objects.filter(name__in=stored_loops))
        for name, loop in stored_loops.items():
            task = self.loops[name].task
            if not _is_correct(loop, [row for row in rows if (row.name, row.func) == (name, task)], task, now):
                _correct_row(name, task, now)
        return True

    def _changed_plan(self, name: str) -> Plan | None:
        """Return the loop's plan if it has changed since the last call; None also if it can't be read."""
        spec = self.loops[name]
        try:
            plan = plan_of(name, spec)
        except Exception:
            if name not in self._broken:
                self._broken.add(name)
                start_failed = spec.start_failed if name not in self.plans else ""
                logger.exception(start_failed or "Settings of a loop could not be read", extra={"loop": name})
            return None
        self._broken.discard(name)
        return plan if self.plans.get(name) != plan else None


def _store_plan(plan: Plan, now: datetime) -> None:
    values = {"interval_seconds": plan.seconds, "enabled": plan.enabled}
    with transaction.atomic():
        _, is_new = Loop.objects.get_or_create(name=plan.name, defaults={**values, "wanted_since": now})
        differs = Loop.objects.filter(pk=plan.name).exclude(**values)
        if not is_new and differs.update(**values, wanted_since=now):
            logger.info(
                "Loop changed",
                extra={"loop": plan.name, "interval_seconds": plan.seconds, "enabled": plan.enabled},
            )


def is_loops_row(row: Schedule) -> bool:
    """Whether `row` belongs to a loop; a person's row may have the same name or the same task."""
    spec = extensions.loops.get(row.name or "")
    return spec is not None and bool(row.func == spec.task)


def _stored_plan(loop: Loop, task: str) -> Plan:
    return Plan(loop.name, task, loop.interval_seconds, loop.enabled)


def _is_correct(loop: Loop, rows: list[Schedule], task: str, now: datetime) -> bool:
    if not loop.enabled:
        return not rows
    if len(rows) != 1 or rows[0].next_run is None or rows[0].next_run > now + _max_lead(loop):
        return False
    fields = _row_fields(_stored_plan(loop, task))
    return all(getattr(rows[0], name) == value for name, value in fields.items())


def _max_lead(loop: Loop) -> timedelta:
    """Return how far ahead a loop's next run can be: its interval, or the pause of a parked row."""
    return max(timedelta(seconds=loop.interval_seconds), PARKED) + timedelta(seconds=1)


def _correct_row(name: str, task: str, now: datetime) -> None:
    """Create the one row, correct it, or delete it. The loop's row is locked: two machines would create two."""
    with transaction.atomic():
        loop = Loop.objects.select_for_update().get(pk=name)
        rows = Schedule.objects.filter(name=name, func=task)
        if not loop.enabled:
            rows.delete()
            return
        first = rows.order_by("pk").first()
        fields = {
            **_row_fields(_stored_plan(loop, task)),
            "next_run": tick_after(now, loop.interval_seconds),
        }
        if first is None:
            # Not by save(), which would compute another next_run.
            Schedule.objects.bulk_create([Schedule(name=name, func=task, **fields)])
        else:
            rows.exclude(pk=first.pk).delete()
            rows.filter(pk=first.pk).update(**fields)
