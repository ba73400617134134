"""The page of the metrics without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from jobs.costs.metrics import Period
from jobs.models import Job, Membership, Organization
from queueing.statistics import wait_by_day
from tests.factories import make_job as make_any_job
from tests.web import queries_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def get(user: User, address: str = "/metrics") -> str:
    return read_page(user, address)


def test_nobody_is_sent_to_the_login_and_a_script_is_told(client: Client) -> None:
    assert client.get("/metrics")["Location"] == "/login?next=/metrics"
    assert client.get("/metrics/now").status_code == 401


def jobs_on(page: str) -> int:
    return int(re.findall(r'<dt>Jobs</dt> <dd class="figure"> ([0-9]+)', page)[0])


def test_it_shows_what_the_api_says_and_a_stranger_nothing(make_job: MakeJob, alice: User, charlie: User) -> None:
    make_job(status="completed")
    make_job(status="failed", completed_at=timezone.now() - timedelta(days=20))
    month, week = get(alice), get(alice, "/metrics?days=7")
    assert jobs_on(month) == 2 and "50 %" in month
    assert jobs_on(week) == 1 and "100 %" in week
    assert jobs_on(get(charlie)) == 0
    assert "No jobs in the last 30 days" in get(charlie)


def test_one_organization_alone(make_job: MakeJob, alice: User) -> None:
    make_job(status="completed")
    second = Organization.objects.create(name="second")
    Membership.objects.create(user=alice, organization=second, role="viewer")
    Organization.objects.create(name="foreign")
    for _ in range(2):
        make_any_job(organization=second, status="completed")
    assert jobs_on(get(alice)) == 3
    assert jobs_on(page := get(alice, "/metrics?organization=second&days=90")) == 2
    assert "days=7&amp;organization=second" in page and "foreign" not in page
    # What isn't the reader's to choose is as if it had not been chosen.
    assert jobs_on(get(alice, "/metrics?organization=foreign&days=nonsense")) == 3


def test_it_leads_to_the_costs_of_the_same_organization(make_job: MakeJob, alice: User) -> None:
    assert '<a href="/spend">Spend</a>' in get(alice)
    second = Organization.objects.create(name="second")
    Membership.objects.create(user=alice, organization=second, role="viewer")
    assert '<a href="/spend?organization=second">Spend</a>' in get(alice, "/metrics?organization=second")


def test_a_day_has_the_average_wait_of_the_jobs_that_started_on_it(
    make_job: MakeJob, alice: User, charlie: User
) -> None:
    def job(started: int, minutes: int, *, status: str = "completed", marker: str | None = "here") -> None:
        at = NOON - timedelta(days=started)
        ended = None if status == "running" else at + timedelta(days=1)
        fields = {"created_at": at - timedelta(minutes=minutes), "started_at": at, "completed_at": ended}
        made = make_job(status=status)
        Job.objects.filter(pk=made.pk).update(**fields, submission_marker=marker and made.pk)

    job(started=2, minutes=10)
    job(started=2, minutes=30, status="running")
    job(started=0, minutes=5, status="running")
    job(started=9, minutes=700)
    job(started=1, minutes=700, marker=None)  # made at the provider: it waited elsewhere
    period = Period(4, NOON)
    assert [(day.started, day.seconds) for day in wait_by_day(alice, period)] == [
        (0, None),
        (2, pytest.approx(1200)),
        (0, None),
        (1, pytest.approx(300)),
    ]
    assert [day.started for day in wait_by_day(charlie, period)] == [0, 0, 0, 0]


def test_more_jobs_cost_no_more_queries(make_job: MakeJob, alice: User) -> None:
    client, counts = Client(), []
    client.force_login(alice)
    for days in (range(1), range(1, 7)):
        for number in days:
            make_job(status="completed", completed_at=timezone.now() - timedelta(days=number))
        counts.append(queries_of(client, "/metrics"))
    assert counts[0] == counts[1]
