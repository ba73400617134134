"""The loop over the budgets: passes, notices end to end, a clock that jumps, prices that come and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.test import APIClient

from cloudtrain_site.events.publish import person_channel
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.notices.sending import send_due
from jobs.api.event_channels import ChannelManager
from jobs.channels import organization_channel
from jobs.costs.prices import note_prices
from jobs.models import DayCost, Job, Organization, ProviderConfig
from jobs.roles import Role
from queueing import claims
from queueing.budgets import editing, sentences, watch
from queueing.budgets.outlook import BudgetReader
from queueing.budgets.sums import states
from queueing.limits import candidate_of, queue_state
from queueing.models import Budget, BudgetNotice, Period, QueueEntry, QueueState
from tests.factories import make_user
from tests.providers import ScriptedProvider
from tests.queueing.budgets.spending import budget_of, poll, spend

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
Enqueue = Callable[..., QueueEntry]


@pytest.fixture(autouse=True)
def provider(scripted: ScriptedProvider) -> None:
    """The jobs are there."""


@pytest.fixture
def maria(acme: Organization) -> User:
    """An admin of acme with a mail address."""
    maria = make_user("maria", acme, Role.ADMIN)
    maria.email = "maria@example.org"
    maria.save()
    return maria


@pytest.fixture
def pass_after(django_capture_on_commit_callbacks: Any) -> Callable[[Callable[[], Any]], bool]:
    """Whether a pass is asked for once what the function did is committed."""

    def is_asked(act: Callable[[], Any]) -> bool:
        queue_state()
        QueueState.objects.update(pass_requested_at=None)
        with django_capture_on_commit_callbacks(execute=True):
            act()
        return QueueState.objects.get().pass_requested_at is not None

    return is_asked


def test_a_raised_or_removed_budget_starts_a_pass(
    acme: Organization, maria: User, enqueue: Enqueue, pass_after: Callable[[Callable[[], Any]], bool]
) -> None:
    budget = budget_of(acme, "10")
    entry = enqueue(estimated_cost_usd=Decimal(31))
    assert claims.claim_next() == []
    assert not pass_after(lambda: editing.change(budget, {"amount": Decimal(10)}, by=maria)), "nothing has changed"
    assert pass_after(lambda: editing.change(budget, {"amount": Decimal(40)}, by=maria))
    assert [one.job_id for one in claims.claim_next()] == [entry.job_id]
    assert pass_after(lambda: editing.remove(budget, by=maria))


def test_a_new_period_starts_one_pass(acme: Organization, pass_after: Callable[[Callable[[], Any]], bool]) -> None:
    budget = budget_of(acme, "10")
    assert pass_after(watch.watch), "it is seen for the first time"
    assert not pass_after(watch.watch)
    (state,) = states([budget])
    assert state.resets_at is not None
    after = state.resets_at
    assert not pass_after(lambda: watch.watch(after - timedelta(seconds=1)))
    assert pass_after(lambda: watch.watch(after))
    assert not pass_after(lambda: watch.watch(after + timedelta(days=1)))


def test_an_organizations_month_begins_in_its_zone(acme: Organization) -> None:
    Organization.objects.filter(pk=acme.pk).update(time_zone="Pacific/Kiritimati")
    budget = budget_of(acme, "10")
    budget.refresh_from_db()
    (state,) = states([budget], datetime(2026, 11, 30, 9, 59, tzinfo=UTC))
    assert state.window.name == "November"
    (state,) = states([budget], datetime(2026, 11, 30, 10, 0, tzinfo=UTC))
    assert state.window.name == "December"


def test_at_80_percent_the_admins_get_one_mail(make_job: MakeJob, acme: Organization, maria: User, bob: User) -> None:
    budget = budget_of(acme, "100")
    spend(make_job, "85")
    for _ in range(2):
        watch.watch()
        send_due()
    (message,) = [one for one in mail.outbox if "$85 of $100 spent (80 %)" in f"{one.subject} {one.body}"]
    assert message.recipients() == ["maria@example.org"]
    assert f"/budgets/{budget.pk}" in str(message.body)


def test_50_percent_are_an_event_without_a_mail(make_job: MakeJob, acme: Organization, maria: User) -> None:
    budget_of(acme, "100", period=Period.LIFETIME)  # which has no forecast
    spend(make_job, "55")
    watch.watch()
    (event,) = events()
    assert (event["percent"], event["scope"]) == (50, "organization")
    assert not Notice.objects.filter(kind="budget_threshold").exists()


def events() -> list[dict[str, Any]]:
    rows = [(row.channel, json.loads(row.data)) for row in Event.objects.order_by("pk")]
    return [{"channel": channel, **data} for channel, data in rows if data.get("type") == "budget_threshold"]


def test_what_a_person_has_spent_is_told_to_them_and_admins(
    make_job: MakeJob, acme: Organization, maria: User, alice: User, bob: User
) -> None:
    budget_of(acme, "100", user=alice)
    spend(make_job, "90")
    watch.watch()
    channels = {event["channel"] for event in events()}
    assert channels == {person_channel(maria.pk), person_channel(alice.pk)}
    assert not any(ChannelManager().can_read_channel(bob, channel) for channel in channels)
    notice = Notice.objects.get(kind="budget_threshold", key__endswith=":80")
    assert (sorted(notice.users), notice.organization_id) == (sorted([maria.pk, alice.pk]), None)


def test_the_organizations_own_budget_is_told_to_its_channel(make_job: MakeJob, acme: Organization) -> None:
    budget_of(acme, "100", period=Period.LIFETIME)
    spend(make_job, "55")
    watch.watch()
    assert [event["channel"] for event in events()] == [organization_channel(acme.pk)]


@pytest.mark.parametrize(
    ("expected", "ending"),
    [("122.78", "$122.78 of $500 will be spent."), ("500.01", "$500.01 will be spent, more than $500.")],
)
def test_a_forecast_says_more_than_the_amount_only_when_it_is(acme: Organization, expected: str, ending: str) -> None:
    (state,) = states(Budget.objects.filter(pk=budget_of(acme, "500").pk))
    assert sentences.forecast(state, Decimal(expected)).endswith(f"at the pace of the last 7 days {ending}")


def test_the_forecast_is_told_once_a_month(acme: Organization, make_job: MakeJob, maria: User) -> None:
    budget_of(acme, "100", thresholds=[])
    job = spend(make_job, "1")
    middle = timezone.now().replace(day=15, hour=12)
    DayCost.objects.update(day=middle.date(), spent=Decimal(42))
    (state,) = states(Budget.objects.all(), middle)
    # $42 within seven days are $6 a day, for the days that remain.
    days = (state.window.after - middle.date()).days - 1 if state.window.after else 0
    assert watch.forecast(state, middle) == 42 + 6 * days
    for _ in range(2):
        watch.watch(middle)
    notice = Notice.objects.get(kind="budget_threshold")
    assert f"at the pace of the last 7 days ${42 + 6 * days} will be spent" in notice.subject
    assert notice.users == [maria.pk]
    assert [event["percent"] for event in events()] == [None]
    assert job.pk


def test_a_clock_that_jumps_tells_nothing_twice(make_job: MakeJob, acme: Organization) -> None:
    budget_of(acme, "100")
    spend(make_job, "85")
    now = timezone.now()
    for moment in (now, now + timedelta(days=400), now - timedelta(days=400), now + timedelta(days=400), now):
        watch.watch(moment)
    # A year earlier all that was spent since counts; it is told for that month as well, and once.
    reached = list(BudgetNotice.objects.values_list("period_start", "threshold"))
    assert len(reached) == len(set(reached))
    this_month = [percent for start, percent in reached if (start.year, start.month) == (now.year, now.month)]
    assert sorted(percent for percent in this_month if percent) == [50, 80]
    (state,) = states(Budget.objects.all(), now - timedelta(days=400))
    assert state.spent == 85, "a clock that is behind gives nothing away"


def test_a_price_that_is_removed_while_jobs_run_and_wait_loses_nothing(
    client_of: Callable[..., APIClient], make_job: MakeJob, enqueue: Enqueue, acme: Organization, root: User
) -> None:
    config = ProviderConfig.objects.create(name="scripted", cost_per_second={"gpu": 0.01})
    budget_of(acme, "100")
    waiting = enqueue(hardware_profile="gpu", estimated_cost_usd=Decimal(31))
    job = spend(make_job, "60", hardware_profile="gpu")
    config.cost_per_second = {}
    config.save()
    poll(job, config, "65")
    (budget,) = client_of(root).get("/api/cloud/budgets").json()["budgets"]
    assert budget["spent_usd"] == 65
    assert [entry.job_id for entry in claims.claim_next()] == [waiting.job_id], "its estimate stands"
    (budget,) = client_of(root).get("/api/cloud/budgets").json()["budgets"]
    assert budget["committed_usd"] == 96


def test_a_limited_job_goes_once_its_hardware_has_a_price(
    enqueue: Enqueue, acme: Organization, pass_after: Callable[[Callable[[], Any]], bool]
) -> None:
    config = ProviderConfig.objects.create(name="scripted", cost_per_second={})
    budget_of(acme, "100")
    entry = enqueue(hardware_profile="gpu", estimated_cost_usd=None, max_cost_usd=Decimal(20), config={})
    watch.watch()
    assert not pass_after(watch.watch)
    assert claims.claim_next() == []
    set_price(config, "gpu", 0.01)
    assert pass_after(watch.watch)
    assert [one.job_id for one in claims.claim_next()] == [entry.job_id]
    (state,) = states(Budget.objects.all())
    assert state.held == 20


def set_price(config: ProviderConfig, hardware: str, per_second: float) -> None:
    config.cost_per_second = {**config.cost_per_second, hardware: per_second}
    config.save()
    note_prices([config])


def test_a_job_without_a_limit_goes_too_once_its_hardware_has_a_price(
    enqueue: Enqueue, acme: Organization, pass_after: Callable[[Callable[[], Any]], bool]
) -> None:
    config = ProviderConfig.objects.create(name="scripted", cost_per_second={"other": 0.5}, seconds_per_step=2.0)
    budget_of(acme, "25")
    entry = enqueue(hardware_profile="gpu", estimated_cost_usd=None, config={"max_train_steps": 1000})
    endless = enqueue(hardware_profile="gpu", estimated_cost_usd=None, config={})
    set_price(config, "other", 0.25)
    watch.watch()
    assert not pass_after(watch.watch), "the price of other hardware"
    assert claims.claim_next() == []
    set_price(config, "gpu", 0.01)
    assert pass_after(watch.watch)
    assert [one.job_id for one in claims.claim_next()] == [entry.job_id]
    (state,) = states(Budget.objects.all())
    assert state.held == 20, "the estimate of now"
    endless.refresh_from_db()
    assert endless.needs_usd is None
    reason = BudgetReader(None).waiting(candidate_of(endless), "gpu")
    assert reason.endswith("so it waits. It starts once an admin sets a cost limit for it (max_cost_usd).")
