"""Budgets: the queue starts no more than they allow, says why a job waits, and tells each threshold once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from django_eventstream.models import Event

from cloudtrain_site.notices.models import Notice
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.costs import ledger
from jobs.costs.verification import verify
from jobs.models import Job, JobAccount, Organization
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from queueing import claims
from queueing.budgets import watch
from queueing.budgets.lefts import read_lefts
from queueing.budgets.periods import window
from queueing.budgets.sums import all_states, states
from queueing.models import Budget, BudgetNotice, QueueEntry, QueueState
from queueing.waiting.explain import Explainer
from tests import factories
from tests import spending as costs
from tests.providers import ScriptedProvider
from tests.queueing.budgets.spending import budget_of, spend, take_slot
from tests.races import at_once

Enqueue = Callable[..., QueueEntry]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def room(scripted: ScriptedProvider) -> None:
    """Limits that nothing meets, so that the budgets decide."""
    plenty = {"max_running": 1000, "max_running_per_user": 1000, "max_running_per_organization": 1000}
    QueueState.objects.update_or_create(pk=1, defaults=plenty)


def claimed() -> list[str]:
    jobs: list[str] = []
    while entries := claims.claim_next():
        jobs += [entry.job_id for entry in entries]
    return jobs


def cost(amount: str) -> dict[str, Any]:
    return {"estimated_cost_usd": Decimal(amount)}


def reason(entry: QueueEntry, viewer: User) -> str:
    return Explainer(viewer, [entry]).reason(entry)


def end(job: Job, amount: str) -> None:
    job.refresh_from_db()
    lifecycle.mark_submitted(job, Snapshot(f"x-{job.pk}", JobStatus.RUNNING), actor=SYSTEM)
    ended = Snapshot(f"x-{job.pk}", JobStatus.COMPLETED, cost_usd=Decimal(amount))
    assert lifecycle.apply_snapshot(job, ended, source=Source.POLL)
    claims.end(job)


def test_the_queue_starts_what_the_budget_has_room_for(enqueue: Enqueue, acme: Organization) -> None:
    budget_of(acme, "100")
    entries = [enqueue(**cost("30")) for _ in range(5)]
    assert claimed() == [entry.job_id for entry in entries[:3]]
    assert states([Budget.objects.get()])[0].committed == 90


def test_a_waiting_job_says_how_much_until_when_and_who_raises_it(
    enqueue: Enqueue, acme: Organization, alice: User
) -> None:
    budget_of(acme, "50")
    first, second = enqueue(**cost("30")), enqueue(**cost("31"))
    assert claimed() == [first.job_id]
    one = window("month", "UTC", timezone.now())
    assert reason(second, alice) == (
        f"Budget of acme for {one.name}: $30 of $50 committed, this job needs about $31. {one.resets}, or an admin "
        "raises it."
    )


def test_what_the_site_has_spent_is_told_to_superusers_alone(
    enqueue: Enqueue, acme: Organization, alice: User, root: User
) -> None:
    budget_of(None, "10")
    entry = enqueue(**cost("31"))
    assert claimed() == []
    assert "$10" not in reason(entry, alice)
    assert "$0.00 of $10 committed" in reason(entry, root)


def test_the_strictest_budget_counts(enqueue: Enqueue, acme: Organization, alice: User) -> None:
    budget_of(None, "1000")
    budget_of(acme, "500")
    budget_of(acme, "20", user=alice)
    entry = enqueue(**cost("30"))
    assert claimed() == []
    assert reason(entry, alice).startswith("Budget of alice in acme")


def test_a_cheaper_job_passes_dear_ones(enqueue: Enqueue, acme: Organization) -> None:
    budget_of(acme, "10")
    for _ in range(claims.CANDIDATES_PER_LANE + 2):
        enqueue(**cost("50"))
    cheap = enqueue(**cost("5"))
    assert claimed() == [cheap.job_id]


def test_an_unknown_cost_waits_where_there_is_a_budget(enqueue: Enqueue, acme: Organization, alice: User) -> None:
    entry = enqueue(estimated_cost_usd=None)
    budget = budget_of(acme, "1000")
    assert claimed() == []
    assert reason(entry, alice).endswith("CPU has no price, so this job waits until a superuser sets one.")
    budget.delete()
    assert claimed() == [entry.job_id]
    assert JobAccount.objects.get().is_unpriced


def test_a_free_job_goes_though_all_is_spent(enqueue: Enqueue, acme: Organization) -> None:
    budget_of(acme, "0")
    entry = enqueue(**cost("0"))
    assert claimed() == [entry.job_id]


def test_others_are_not_kept_by_it(enqueue: Enqueue, acme: Organization) -> None:
    other = Organization.objects.create(name="other")
    budget_of(acme, "0")
    enqueue(**cost("30"))
    theirs = enqueue(organization=other, submitted_by=factories.make_user("dora", other), **cost("30"))
    assert claimed() == [theirs.job_id]


def test_what_a_job_did_not_need_is_free_again(enqueue: Enqueue, acme: Organization) -> None:
    budget_of(acme, "50")
    first, second = enqueue(**cost("30")), enqueue(**cost("30"))
    assert claimed() == [first.job_id]
    end(first.job, "12")
    assert claimed() == [second.job_id]
    assert not verify().differences


def test_a_refused_submission_holds_nothing(enqueue: Enqueue, acme: Organization) -> None:
    enqueue(**cost("30"))
    (entry,) = claims.claim_next()
    assert claims.requeue(entry, "refused")
    assert JobAccount.objects.get().held == 0


def test_a_new_month_has_room_again(enqueue: Enqueue, acme: Organization) -> None:
    budget = budget_of(acme, "50")
    entry = enqueue(**cost("30"))
    assert claimed() == [entry.job_id]
    end(entry.job, "40")
    after = window("month", "UTC", timezone.now()).resets_at
    assert after is not None
    assert states([budget], after - timedelta(seconds=1))[0].spent == 40
    assert states([budget], after)[0].spent == 0


@pytest.mark.parametrize(
    ("period", "zone", "start", "name"),
    [
        ("month", "UTC", "2026-11-01", "November"),
        ("month", "Pacific/Kiritimati", "2026-12-01", "December"),
        ("day", "UTC", "2026-11-30", "30 November"),
        ("lifetime", "UTC", "2000-01-01", "all time"),
    ],
)
def test_periods_begin_in_their_zone(period: str, zone: str, start: str, name: str) -> None:
    one = window(period, zone, datetime(2026, 11, 30, 20, tzinfo=UTC))
    assert (one.start.isoformat(), one.name) == (start, name)


def told() -> list[str]:
    return [data for data in Event.objects.values_list("data", flat=True) if "budget_threshold" in data]


def test_each_threshold_is_told_once(make_job: Callable[..., Job], acme: Organization) -> None:
    budget = budget_of(acme, "100")
    spend(make_job, "85")
    assert watch.watch()["reached"] >= 2
    watch.watch()
    assert [notice.threshold for notice in BudgetNotice.objects.exclude(threshold=None).order_by("threshold")] == [
        50,
        80,
    ]
    assert len([text for text in told() if "$85 of $100 spent" in text]) == 2
    Budget.objects.filter(pk=budget.pk).update(amount=1000)
    watch.watch()
    Budget.objects.filter(pk=budget.pk).update(amount=100)
    watch.watch()
    assert BudgetNotice.objects.filter(threshold=80).count() == 1
    assert Notice.objects.filter(kind="budget_threshold", key__endswith=":80").count() == 1
    assert not Notice.objects.filter(key__endswith=":50").exists()


def test_nothing_is_told_of_what_is_not_spent(acme: Organization) -> None:
    budget_of(acme, "0")
    budget_of(acme, "100", period="day")
    assert watch.watch() == {"reached": 0, "warned": 0, "cancelled": 0}


def test_a_forecast_beyond_the_budget_is_told_once(make_job: Callable[..., Job], acme: Organization) -> None:
    budget_of(acme, "40", thresholds=[])
    spend(make_job, "30")
    (state,) = all_states()
    expected = watch.forecast(state)
    assert expected is not None
    assert watch.watch()["reached"] == (expected > 40)
    assert watch.watch()["reached"] == 0


@pytest.mark.parametrize(("action", "cancelled"), [("hold", 0), ("finish", 0), ("cancel", 1)])
def test_the_action_is_taken_when_all_is_spent(
    make_job: Callable[..., Job], acme: Organization, action: str, cancelled: int
) -> None:
    budget_of(acme, "50", action=action)
    job = spend(make_job, "60")
    take_slot(job)
    for _ in range(2):
        watch.watch()
    job.refresh_from_db()
    assert (job.cancel_requested_at is not None) == bool(cancelled)
    notes = job.events.filter(reason__startswith="cancel requested: Budget of acme for ")
    assert notes.count() == cancelled


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_eight_dispatchers_start_ten_jobs_where_there_is_room_for_ten(enqueue: Enqueue, acme: Organization) -> None:
    budget_of(acme, "100")
    for _ in range(40):
        enqueue(**cost("10"))
    rounds = at_once(*[lambda: [entry.job_id for _ in range(3) for entry in claims.claim_next(3)]] * 8)
    jobs = [job for one in rounds for job in one] + claimed()
    assert len(jobs) == len(set(jobs)) == 10
    assert JobAccount.objects.filter(held=10).count() == 10
    assert connection.vendor in ("sqlite", "postgresql")


def test_the_ledger_and_the_entry_need_the_same(enqueue: Enqueue) -> None:
    entry = enqueue(**cost("3.5"))
    assert entry.needs_usd == ledger.expected_cost(entry.job)


def test_the_queue_and_the_pages_see_the_same_left_of_every_budget(
    make_job: Callable[..., Job], acme: Organization, alice: User, bob: User
) -> None:
    third = Organization.objects.create(name="third", time_zone="Pacific/Auckland")
    for period in ("month", "day", "lifetime"):
        budget_of(None, "100", period=period, site_zone="America/New_York" if period == "day" else "")
        budget_of(acme, "90", period=period)
        budget_of(third, "80", period=period)
        budget_of(acme, "70", period=period, user=alice)
    owners = ((acme, alice), (acme, bob), (third, alice), (third, None), (None, None))
    # In the middle of a month and within one day of all the zones: a day's budget has less left than a month's.
    now = (timezone.now().replace(day=1) - timedelta(days=1)).replace(day=15, hour=10)
    for number, (organization, user) in enumerate(owners):
        for ago in (0, 1, 40):
            spent = f"{number + 1}.{ago}"
            costs.spend(now.date() - timedelta(days=ago), spent, organization=organization, submitted_by=user)
        costs.run("2.5", "0.75", organization=organization, submitted_by=user)
    shown = sorted((one.budget.scope, str(one.budget.owner), one.left) for one in all_states(now))
    names = {None: ""} | dict(Organization.objects.values_list("pk", "name"))
    lefts = read_lefts(now)
    assert sorted(left for _, _, left in lefts) == sorted(left for _, _, left in shown)
    assert {(scope, names[owner[0]], left) for scope, owner, left in lefts} == {
        (one.budget.scope, one.budget.organization.name if one.budget.organization else "", one.left)
        for one in all_states(now)
    }
    assert len({left for _, _, left in lefts}) > 8
