"""Sums of past days: the metrics are the same with them and without, whatever changes afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from secrets import token_hex
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from jobs.costs import day_figures, metrics
from jobs.costs.day_figures import JOBS, last_day, sum_up_days
from jobs.models import ChangedDay, DayFigures, Job, Organization
from jobs.models.day_figures import IS_SUMMED, OF_ALL
from jobs.permissions import AnyUser
from jobs.statuses import JobStatus
from queueing.statistics import wait_by_day
from tests import factories

pytestmark = pytest.mark.django_db
DAYS = 10


def noon(days: int) -> datetime:
    return timezone.now().astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days)


def ended(days: int, **fields: Any) -> Job:
    end = noon(days)
    times = {"created_at": end - timedelta(hours=14), "started_at": end - timedelta(hours=13), "completed_at": end}
    made_here = {"submission_marker": token_hex(4), "status": JobStatus.COMPLETED, "cost_usd": 2}
    return factories.make_job(**{**times, **made_here, **fields})


@pytest.fixture
def history(acme: Organization) -> list[Job]:
    """Jobs of several days, some of nobody and of another organization, and one that runs."""
    other = Organization.objects.create(name="other")
    jobs = [ended(days, organization=acme, provider="local") for days in (8, 7, 7, 6, 5, 4, 2)]
    jobs += [ended(5, organization=acme, status=JobStatus.FAILED, cost_doubt="no price"), ended(5, organization=None)]
    jobs += [ended(20, organization=acme), ended(6, organization=other, submission_marker=None, cost_usd="0.25")]
    factories.make_job(organization=acme, status=JobStatus.RUNNING, started_at=timezone.now(), cost_usd=1)
    return jobs


def figures(user: AnyUser) -> tuple[Any, ...]:
    samples = [(sample.name, sample.labels, sample.value) for one in metrics.collect(user) for sample in one.samples]
    waits = wait_by_day(user, metrics.Period(DAYS, timezone.now()))
    return metrics.summary(user, DAYS), metrics.summary(user, DAYS, "acme"), samples, waits


def of_all(users: tuple[User, ...]) -> list[tuple[Any, ...]]:
    return [figures(user) for user in users]


def test_figures_are_the_same_by_the_sums_of_days_and_by_the_jobs(history: list[Job], alice: User, root: User) -> None:
    before = of_all((alice, root))
    assert before[0] != before[1]
    assert sum_up_days(inf) in (19, 20)  # yesterday only when it is over for an hour
    assert of_all((alice, root)) == before
    assert not ChangedDay.objects.exists()
    # They are indeed what is read.
    DayFigures.objects.filter(scope=OF_ALL, day=noon(7).date()).update(jobs=1000)
    assert metrics.summary(root, DAYS)["job_count"] == before[1][0]["job_count"] - 2 + 1000
    assert sum_up_days(inf) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"cost_usd": 70},
        {"cost_doubt": "no price"},
        {"organization": None, "number": None},
        {"provider": "slurm"},
        {"completed_at": noon(2)},
        {"started_at": noon(8)},
        {"submission_marker": None},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_change_of_an_ended_job_counts_at_once(
    history: list[Job], alice: User, root: User, change: dict[str, Any]
) -> None:
    sum_up_days(inf)
    before = of_all((alice, root))
    Job.objects.filter(pk=history[0].pk).update(**change)
    changed = of_all((alice, root))
    assert changed != before
    assert sum_up_days(inf) == (2 if "completed_at" in change else 1)
    assert of_all((alice, root)) == changed
    assert not ChangedDay.objects.exists()


def test_a_job_found_late_counts_on_the_day_of_its_end(history: list[Job], alice: User) -> None:
    sum_up_days(inf)
    before = figures(alice)[0]["job_count"]
    ended(9, organization=history[0].organization)
    assert figures(alice)[0]["job_count"] == before + 1
    assert sum_up_days(inf) == 1
    assert figures(alice)[0]["job_count"] == before + 1


def test_what_no_sum_is_made_of_may_change(history: list[Job]) -> None:
    sum_up_days(inf)
    Job.objects.exclude(completed_at=None).update(note="Looks good.", cost_usd=2)
    assert {mark.day for mark in ChangedDay.objects.all()} == {noon(6).date()}  # of the one that cost a quarter


def test_a_day_is_summed_up_when_it_is_over_for_an_hour(history: list[Job]) -> None:
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert [list(JOBS.due(last_day(today + timedelta(minutes=m))))[-1][0] for m in (59, 61)] == [
        (today - timedelta(days=2)).date(),
        (today - timedelta(days=1)).date(),
    ]
    ChangedDay.objects.all().delete()
    ended(0, organization=None, completed_at=timezone.now())
    assert not ChangedDay.objects.exists()


def test_a_round_ends_with_its_time_and_the_next_goes_on(history: list[Job], root: User) -> None:
    before = figures(root)
    assert sum_up_days(0) == 0
    for day, changes in list(JOBS.due(last_day(timezone.now())))[:15]:
        assert JOBS.store(day, changes)
    assert figures(root) == before
    assert sum_up_days(inf) in (4, 5)
    assert figures(root) == before


def test_older_sums_don_t_take_the_place_of_newer_ones(history: list[Job], root: User) -> None:
    [(day, changes), *_] = JOBS.due(last_day(timezone.now()))
    assert JOBS.store(day, changes)
    assert not JOBS.store(day, changes)  # the marks are gone
    assert not JOBS.store(day, [])  # the day has its sums
    assert DayFigures.objects.filter(day=day, scope=IS_SUMMED).count() == 1


def test_with_many_gaps_the_jobs_are_read(history: list[Job], root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    sum_up_days(inf)
    before = figures(root)
    monkeypatch.setattr(day_figures, "MOST_GAPS", 1)
    DayFigures.objects.filter(scope=OF_ALL).update(jobs=1000)
    ChangedDay.objects.create(day=noon(5).date())
    assert figures(root) == before
