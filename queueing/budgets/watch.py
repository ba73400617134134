"""The loop that watches the budgets: thresholds, the forecast, the action when all is spent, and new periods."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Min, Q, QuerySet, Sum
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import Event, person_channel, publish
from cloudtrain_site.notices import outbox
from jobs.channels import organization_channel
from jobs.costs import ledger
from jobs.models import DatedPrice, DayCost, Membership
from jobs.roles import Role
from queueing import passes
from queueing.budgets import sentences
from queueing.budgets.actions import act
from queueing.budgets.sums import BudgetState, all_states, imported_since
from queueing.models import Budget, BudgetNotice, QueueEntry, Scope
from queueing.statuses import EntryStatus

logger = logging.getLogger("simpletuner.cloud.queue")

#: The kind of the notice and of the event.
THRESHOLD = "budget_threshold"
FORECAST_DAYS = 7
ONE_DAY = timedelta(days=1)
#: Members are told from here on; below, the page and an event say so.
NOTICE_FROM = 80
#: Waiting jobs of unknown cost that one look reads for each new price.
MAX_UNPRICED = 200


def watch(now: datetime | None = None) -> dict[str, int]:
    """Look at every budget once. Any number of processes may do it at once: each thing is told and done once."""
    counts = {"reached": 0, "warned": 0, "cancelled": 0}
    found = all_states(now)
    if found:
        _note_prices()
    for state in found:
        _begin_period(state)
        counts["reached"] += sum(_note(state, percent) for percent in reached_thresholds(state))
        counts["reached"] += _note_forecast(state, now)
        if state.is_used_up:
            done = act(state)
            counts["warned"] += done["warned"]
            counts["cancelled"] += done["cancelled"]
    return counts


def _note_prices() -> None:
    """Let the jobs go whose hardware has got a price since they came."""
    unpriced = QueueEntry.objects.filter(status=EntryStatus.PENDING, needs_usd=None)
    since = unpriced.aggregate(oldest=Min("enqueued_at"))["oldest"]
    if since is None:
        return
    for price in DatedPrice.objects.filter(noted_at__gt=since, per_second__isnull=False):
        concerned = unpriced.filter(
            provider=price.provider, job__hardware_profile=price.hardware, enqueued_at__lt=price.noted_at
        )
        for entry in concerned.select_related("job").order_by("pk")[:MAX_UNPRICED]:
            needs = ledger.expected_cost(entry.job)
            if needs is not None and unpriced.filter(pk=entry.pk).update(needs_usd=needs):
                passes.request_pass()


def reached_thresholds(state: BudgetState) -> list[int]:
    return [percent for percent in state.budget.thresholds if state.has_spent(percent)]


def _begin_period(state: BudgetState) -> None:
    """Ask for a pass when a new period has begun."""
    start = state.window.start
    is_earlier = Q(seen_period=None) | Q(seen_period__lt=start)
    with transaction.atomic():
        if Budget.objects.filter(is_earlier, pk=state.budget.pk).update(seen_period=start):
            passes.rules_changed()


def _note(state: BudgetState, percent: int) -> bool:
    """Tell once that a threshold was reached."""
    return _tell(state, percent, sentences.reached(state, percent), is_mailed=percent >= NOTICE_FROM)


def _note_forecast(state: BudgetState, now: datetime | None) -> bool:
    if state.window.days <= 1 or state.spent >= state.budget.amount:
        return False
    expected = forecast(state, now)
    if expected is None or expected <= state.budget.amount:
        return False
    return _tell(state, None, sentences.forecast(state, expected), is_mailed=True)


def forecast(state: BudgetState, now: datetime | None = None) -> Decimal | None:
    """Return what will be spent by the period's end at the pace of the last seven days; None: it has no end."""
    after = state.window.after
    if after is None:
        return None
    today = (now or timezone.now()).astimezone(state.window.zone).date()
    since = today - timedelta(days=FORECAST_DAYS)
    week = _sum_of(state.budget, DayCost.objects.filter(day__gt=since, day__lte=today), "spent")
    week -= _sum_of(state.budget, imported_since(since + ONE_DAY).filter(day__lte=today), "amount")
    remaining = max(0, (after - today).days - 1)
    return state.spent + week / FORECAST_DAYS * remaining


def _sum_of(budget: Budget, rows: QuerySet[Any], column: str) -> Decimal:
    if budget.scope != Scope.SITE:
        rows = rows.filter(organization=budget.organization_id)
    if budget.scope == Scope.USER:
        rows = rows.filter(user=budget.user_id)
    return rows.aggregate(total=Sum(column))["total"] or Decimal(0)


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
        for channel in _channels_of(budget):
            publish(Event(THRESHOLD, channel, data))
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
        # What one person has spent is no matter for the organization's channels.
        audience=outbox.Audience(
            users=_admins_of(budget), organization_id=None if budget.user_id else budget.organization_id
        ),
        link=f"/budgets/{budget.pk}",
        data=data,
    )


def _channels_of(budget: Budget) -> list[str]:
    """Return the event channels of those who may see the budget."""
    if budget.scope == Scope.USER:
        return [person_channel(user_id) for user_id in sorted(set(_admins_of(budget)))]
    return [organization_channel(budget.organization_id)]


def _admins_of(budget: Budget) -> list[int]:
    if budget.organization_id is None:
        return list(User.objects.filter(is_superuser=True, is_active=True).values_list("pk", flat=True))
    admins = Membership.objects.filter(organization=budget.organization_id, role=Role.ADMIN, user__is_active=True)
    return [*admins.values_list("user_id", flat=True), *([budget.user_id] if budget.user_id else [])]
