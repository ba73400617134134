"""The page of the metrics without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from jobs.costs.metrics import Period
from jobs.models import Job, Membership, Organization
from queueing.models import QueueEntry
from queueing.statistics import depth_by_day
from queueing.statuses import EntryStatus
from tests.factories import make_job as make_any_job
from tests.web import queries_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
Enqueue = Callable[..., QueueEntry]
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
    assert jobs_on(month) == 2 and "50%" in month
    assert jobs_on(week) == 1 and "100%" in week
    assert jobs_on(get(charlie)) == 0
    assert "No job ended in the last 30 days" in get(charlie)


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


def test_the_depth_of_each_day_is_counted_backwards_from_now(enqueue: Enqueue, alice: User, charlie: User) -> None:
    def entry(came: int, left: int | None, **fields: Any) -> None:
        made = enqueue()
        gone = {} if left is None else {"status": EntryStatus.COMPLETED, "dispatched_at": NOON - timedelta(days=left)}
        QueueEntry.objects.filter(pk=made.pk).update(enqueued_at=NOON - timedelta(days=came), **{**gone, **fields})

    entry(came=9, left=None)
    entry(came=2, left=1)
    entry(came=2, left=None, status=EntryStatus.CANCELLED, finished_at=NOON)
    entry(came=1, left=None, dispatched_at=NOON)  # given back: it waits
    period = Period(4, NOON)
    assert [depth for _, depth in depth_by_day(alice, period)] == [1, 3, 3, 2]
    assert [depth for _, depth in depth_by_day(charlie, period)] == [0, 0, 0, 0]


def test_more_jobs_cost_no_more_queries(make_job: MakeJob, alice: User) -> None:
    client, counts = Client(), []
    client.force_login(alice)
    for days in (range(1), range(1, 7)):
        for number in days:
            make_job(status="completed", completed_at=timezone.now() - timedelta(days=number))
        counts.append(queries_of(client, "/metrics"))
    assert counts[0] == counts[1]
