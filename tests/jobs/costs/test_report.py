"""The figures of the page of costs, compared with the same sums in plain Python."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import ledger
from jobs.costs.report import MAX_SERIES, breakdown, dearest_jobs
from jobs.costs.spending import GROUPS, Spending
from jobs.costs.verification import verify
from jobs.models import DayCost, Job, JobAccount, Organization
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from tests.factories import make_job, make_user
from tests.spending import spend

pytestmark = pytest.mark.django_db
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)


def spend_for_days(day: date, days: int, cost: str) -> Job:
    """Make a job that ran for some days from midnight on."""
    begin = datetime.combine(day, time(), UTC)
    return spend(day, cost, started_at=begin, completed_at=begin + timedelta(days=days))


@pytest.fixture
def spending(root: User, acme: Organization, alice: User) -> Spending:
    """Three months in which ten people of two organizations and nobody spent something, some jobs on several days."""
    people = [None, alice, *(make_user(f"user-{number}", acme) for number in range(8))]
    third = Organization.objects.create(name="third")
    for number in range(40):
        spend(
            FIRST + timedelta(days=number * 2),
            f"{number % 7 + 1}.{number % 3}",
            organization=(acme, third, None)[number % 3],
            submitted_by=people[number % len(people)],
            provider=("local", "replicate")[number % 2],
            hardware_profile=("", "a100", "h100")[number % 3],
        )
    for number in range(5):
        spend_for_days(FIRST + timedelta(days=number), number + 2, "9.5")
    return Spending(root, FIRST, LAST)


@pytest.mark.parametrize("by_month", [False, True])
@pytest.mark.parametrize("group", ["organization", "user", "provider", "hardware"])
def test_every_group_adds_up(spending: Spending, group: str, by_month: bool) -> None:
    column, totals, spans = GROUPS[group], Counter[object](), Counter[tuple[date, object]]()
    for day in DayCost.objects.all():
        key = getattr(day, column)
        totals[key] += day.spent  # type: ignore[assignment]
        spans[day.day.replace(day=1) if by_month else day.day, key] += day.spent  # type: ignore[assignment]
    found = breakdown(spending, group, by_month=by_month)
    assert {share.key: share.spent for share in found.shares} == totals
    assert [share.spent for share in found.shares] == sorted(totals.values(), reverse=True)
    places = {share.key: min(place, MAX_SERIES) for place, share in enumerate(found.shares)}
    stacked = Counter[tuple[date, int]]()
    for (span, key), spent in spans.items():
        stacked[span, places[key]] += spent
    assert {
        (span, place): spent for span, places_of in found.spans.items() for place, spent in places_of.items()
    } == stacked
    assert group != "user" or max(place for _, place in stacked) == MAX_SERIES, "there are others"


def test_the_dearest_jobs_are_found_whether_they_have_one_day_or_several(spending: Spending) -> None:
    totals = Counter[str]()
    for day in DayCost.objects.all():
        totals[day.job_id] += day.spent  # type: ignore[assignment]
    dearest = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    for count in (3, 12):
        found = dearest_jobs(spending, count)
        assert [one.spent for one in found] == [spent for _, spent in dearest[:count]]
        assert all(totals[one.job.pk] == one.spent for one in found)
    # A job with a part of its days in the time counts with that part.
    part = Spending(spending.user, FIRST + timedelta(days=6), LAST)
    assert max(one.spent for one in dearest_jobs(part, 50)) < Decimal("9.5")


def test_the_further_days_of_a_job_are_marked(acme: Organization) -> None:
    began = timezone.now() - timedelta(days=2)
    job = make_job(status=JobStatus.RUNNING, started_at=began, organization=acme)
    for cost, ago in (("1", timedelta(days=2)), ("3", timedelta(days=1)), ("4", timedelta())):
        job.cost_usd = Decimal(cost)
        job.save()
        JobAccount.objects.filter(job=job).update(counted_until=timezone.now() - ago - timedelta(minutes=5))
        with unit_of_work():
            ledger.count_snapshot(job, Snapshot("", JobStatus.RUNNING))
    days = dict(DayCost.objects.order_by("day").values_list("day", "is_further"))
    assert list(days.values()) == [False, *[True] * (len(days) - 1)]
    assert len(days) > 1
    assert verify().differences == []
    DayCost.objects.update(is_further=False)
    assert [one.sentence for one in verify().differences] == ["more than one of its days is stored as its first."]
