"""The schedule rows of the loops: as the configuration wants them, for everybody to see."""

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

#: The keyword under which a run learns for which moment it was meant.
INTENDED = "intended"
#: How long a row that can't be fired is left alone.
PARKED = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """What configuration and database say of one loop at this moment."""

    name: str
    task: str
    seconds: float
    enabled: bool


def plan_of(name: str, spec: LoopSpec) -> Plan:
    """Ask for the loop's interval, and whether it is wanted. Raises whatever the answer raises."""
    enabled = bool(import_string(spec.wanted)()) if spec.wanted else True
    return Plan(name, spec.task, float(spec.seconds()), enabled)


def tick_before(now: datetime, seconds: float) -> datetime:
    """The last tick up to `now`. Every machine counts from the same moment, so all agree on the ticks."""
    period = timedelta(seconds=seconds)
    return EPOCH + (now - EPOCH) // period * period


def tick_after(now: datetime, seconds: float) -> datetime:
    """The first tick after `now`."""
    return tick_before(now, seconds) + timedelta(seconds=seconds)


def cron_of(seconds: float) -> str | None:
    """The six-field cron expression, seconds last, with just these ticks; None when cron can't say it."""
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
    """What the schedule row of a loop shows. Its `next_run` is the truth in any case: it is computed from `every`."""
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
    # Neither can say "every 45 seconds": the row stands for the next tick alone, and the beat arms it again.
    return {**fields, "schedule_type": Schedule.ONCE}


class ScheduleRows:
    """Keeps the schedule rows of the loops as the configuration wants them; rows that people added are not touched.

    A machine writes a loop's plan down when its own view of it changes; every machine makes the rows follow what is
    written down. So two machines whose files differ don't overwrite each other at every tick: the last change wins.
    """

    def __init__(self, loops: Mapping[str, LoopSpec] = extensions.loops) -> None:
        self.loops = loops
        self.plans: dict[str, Plan] = {}
        self._broken: set[str] = set()

    def sync(self, now: datetime) -> None:
        """Look at every loop's configuration, and put right whatever row differs. Cheap when nothing does."""
        changed = [plan for name in self.loops if (plan := self._changed_plan(name)) is not None]
        for plan in changed:
            _write_down(plan, now)
            self.plans[plan.name] = plan
        known = Loop.objects.in_bulk(list(self.loops))
        rows = list(Schedule.objects.filter(name__in=known))
        for name, loop in known.items():
            task = self.loops[name].task
            if not _in_step(loop, [row for row in rows if (row.name, row.func) == (name, task)], task, now):
                _put_in_step(name, task, now)

    def _changed_plan(self, name: str) -> Plan | None:
        """The loop's plan when it is another than at the last look. One that can't be read is left as it was."""
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


def _write_down(plan: Plan, now: datetime) -> None:
    wanted = {"interval_seconds": plan.seconds, "enabled": plan.enabled}
    with transaction.atomic():
        _, made = Loop.objects.get_or_create(name=plan.name, defaults={**wanted, "wanted_since": now})
        differs = Loop.objects.filter(pk=plan.name).exclude(**wanted)
        if not made and differs.update(**wanted, wanted_since=now):
            logger.info(
                "Loop changed",
                extra={"loop": plan.name, "interval_seconds": plan.seconds, "enabled": plan.enabled},
            )


def is_loops_row(row: Schedule) -> bool:
    """Whether `row` is one that we keep for a loop; a person's may share its name or its task."""
    spec = extensions.loops.get(row.name or "")
    return spec is not None and bool(row.func == spec.task)


def _plan_written_down(loop: Loop, task: str) -> Plan:
    return Plan(loop.name, task, loop.interval_seconds, loop.enabled)


def _in_step(loop: Loop, rows: list[Schedule], task: str, now: datetime) -> bool:
    if not loop.enabled:
        return not rows
    if len(rows) != 1 or rows[0].next_run is None or rows[0].next_run > now + _furthest(loop):
        return False
    wanted = _row_fields(_plan_written_down(loop, task))
    return all(getattr(rows[0], name) == value for name, value in wanted.items())


def _furthest(loop: Loop) -> timedelta:
    """How far ahead the next run of a loop can be: its interval, or the pause after a tick that could not be fired."""
    return max(timedelta(seconds=loop.interval_seconds), PARKED) + timedelta(seconds=1)


def _put_in_step(name: str, task: str, now: datetime) -> None:
    """Make the one row, correct it, or remove it. The loop's row is locked: two machines would make two of them."""
    with transaction.atomic():
        loop = Loop.objects.select_for_update().get(pk=name)
        rows = Schedule.objects.filter(name=name, func=task)
        if not loop.enabled:
            rows.delete()
            return
        first = rows.order_by("pk").first()
        wanted = {
            **_row_fields(_plan_written_down(loop, task)),
            "next_run": tick_after(now, loop.interval_seconds),
        }
        if first is None:
            # Not through save(), which would compute a next_run of its own.
            Schedule.objects.bulk_create([Schedule(name=name, func=task, **wanted)])
        else:
            rows.exclude(pk=first.pk).delete()
            rows.filter(pk=first.pk).update(**wanted)
