"""The loop that watches the budgets: thresholds, the forecast, the action when all is spent, and new periods."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.notices import outbox
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.channels import organization_channel
from jobs.models import DayCost, Job, JobQuerySet, Membership
from jobs.roles import Role
from queueing import passes
from queueing.budgets import sentences
from queueing.budgets.sums import BudgetState, all_states
from queueing.models import Action, Budget, BudgetNotice, QueueEntry, Scope
from queueing.statuses import TAKES_SLOT

logger = logging.getLogger("simpletuner.cloud.queue")

#: The kind of the notice and of the event.
THRESHOLD = "budget_threshold"
BUDGETS = Actor(name="budgets")
FORECAST_DAYS = 7
#: Members are told from here on; below, the page and an event say so.
NOTICE_FROM = 80
HUNDRED = 100


def watch() -> dict[str, int]:
    """Look at every budget once. Any number of processes may do it at once: each thing is told and done once."""
    counts = {"reached": 0, "cancelled": 0}
    for state in all_states():
        _begin_period(state)
        counts["reached"] += sum(_note(state, percent) for percent in reached_thresholds(state))
        counts["reached"] += _note_forecast(state)
        if is_used_up(state):
            counts["cancelled"] += _act(state)
    return counts


def reached_thresholds(state: BudgetState) -> list[int]:
    return [percent for percent in state.budget.thresholds if state.spent * HUNDRED >= state.budget.amount * percent]


def is_used_up(state: BudgetState) -> bool:
    """Whether all is spent. A budget of nothing is used up only when something was spent."""
    return state.spent >= state.budget.amount and state.spent > 0


def _begin_period(state: BudgetState) -> None:
    """Ask for a pass when a new period has begun."""
    start = state.window.start
    is_earlier = Q(seen_period=None) | Q(seen_period__lt=start)
    with transaction.atomic():
        if Budget.objects.filter(is_earlier, pk=state.budget.pk).update(seen_period=start):
            passes.rules_changed()


def _note(state: BudgetState, percent: int) -> bool:
    """Tell once that a threshold was reached."""
    if state.spent <= 0:
        return False
    return _tell(state, percent, sentences.reached(state, percent), is_mailed=percent >= NOTICE_FROM)


def _note_forecast(state: BudgetState) -> bool:
    if state.window.days <= 1 or state.spent >= state.budget.amount:
        return False
    expected = forecast(state)
    if expected is None or expected <= state.budget.amount:
        return False
    return _tell(state, None, sentences.forecast(state, expected), is_mailed=True)


def forecast(state: BudgetState) -> Decimal | None:
    """Return what will be spent by the period's end at the pace of the last seven days; None: it has no end."""
    after = state.window.after
    if after is None:
        return None
    today = timezone.now().astimezone(state.window.zone).date()
    since = today - timedelta(days=FORECAST_DAYS)
    week = _days_of(state.budget).filter(day__gt=since, day__lte=today).aggregate(spent=Sum("spent"))["spent"]
    remaining = max(0, (after - today).days - 1)
    return state.spent + (week or Decimal(0)) / FORECAST_DAYS * remaining


def _days_of(budget: Budget) -> QuerySet[DayCost]:
    days = DayCost.objects.all()
    if budget.scope != Scope.SITE:
        days = days.filter(organization=budget.organization_id)
    return days.filter(user=budget.user_id) if budget.scope == Scope.USER else days


def _tell(state: BudgetState, threshold: int | None, message: str, *, is_mailed: bool) -> bool:
    budget = state.budget
    with unit_of_work():
        _, is_new = BudgetNotice.objects.get_or_create(
            budget=budget,
            period_start=state.window.start,
            threshold=threshold,
            defaults={"spent": state.spent, "amount": budget.amount},
        )
        if not is_new:
            return False
        data = {"scope": budget.scope, "percent": threshold, "message": message, "budget_id": budget.pk}
        publish(Event(THRESHOLD, organization_channel(budget.organization_id), data))
        if is_mailed:
            _store_notice(state, threshold, message, data)
    logger.warning(message, extra={"budget": budget.pk, "percent": threshold})
    return True


def _store_notice(state: BudgetState, threshold: int | None, message: str, data: Mapping[str, object]) -> None:
    budget = state.budget
    outbox.store(
        THRESHOLD,
        key=f"{THRESHOLD}:{budget.pk}:{state.window.start}:{threshold or 'forecast'}",
        subject=message,
        audience=outbox.Audience(users=_admins_of(budget), organization_id=budget.organization_id),
        data=data,
    )


def _admins_of(budget: Budget) -> list[int]:
    if budget.organization_id is None:
        return list(User.objects.filter(is_superuser=True, is_active=True).values_list("pk", flat=True))
    admins = Membership.objects.filter(organization=budget.organization_id, role=Role.ADMIN, user__is_active=True)
    return [*admins.values_list("user_id", flat=True), *([budget.user_id] if budget.user_id else [])]


def _act(state: BudgetState) -> int:
    """Cancel what runs, where the budget says so. Returns how many jobs were asked to stop."""
    if state.budget.action != Action.CANCEL:
        return 0
    reason = f"budget of {state.budget.owner} for {state.window.name} reached"
    running = running_jobs(state.budget).filter(cancel_requested_at=None)
    return sum(lifecycle.request_cancel(job, actor=BUDGETS, source=Source.LOOP, reason=reason) for job in running)


def running_jobs(budget: Budget) -> JobQuerySet:
    """Return the jobs that take a slot and cost something."""
    entries = QueueEntry.objects.filter(status__in=TAKES_SLOT)
    if budget.scope != Scope.SITE:
        entries = entries.filter(organization=budget.organization_id)
    if budget.scope == Scope.USER:
        entries = entries.filter(user=budget.user_id)
    costly = Q(account__spent__gt=0) | Q(account__held__gt=0) | Q(account__is_unpriced=True)
    return Job.objects.active().filter(costly, pk__in=entries.values("job_id"))
