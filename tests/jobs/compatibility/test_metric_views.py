"""The figures that SimpleTuner's command line asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import Job, Organization
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db


def test_jobs_and_hours_are_summed_by_hardware(
    client_of: Callable[[User | None], APIClient], alice: User, make_job: Callable[..., Job]
) -> None:
    now = timezone.now()
    ran = {"started_at": now - timedelta(hours=2), "completed_at": now}
    make_job(status=JobStatus.COMPLETED, hardware_profile="gpu-t4", **ran)
    make_job(status=JobStatus.FAILED, hardware_profile="gpu-t4", **ran)
    make_job(status=JobStatus.COMPLETED, hardware_profile="", **ran)
    make_job(hardware_profile="gpu-t4")
    answer = client_of(alice).get("/api/metrics/usage").json()
    assert answer["jobs"] == {"submitted": 4, "completed": 2, "failed": 1}
    assert answer["gpu"] == {"total_hours": 6.0, "by_type": {"gpu-t4": 4.0, "default": 2.0}}


def test_the_newest_jobs_with_a_cost_are_those_of_ones_own_organizations_that_ended_in_the_period(
    client_of: Callable[[User | None], APIClient], alice: User, make_job: Callable[..., Job]
) -> None:
    now = timezone.now()

    def ended(days_ago: int, cost: float, **fields: object) -> Job:
        at = now - timedelta(days=days_ago)
        return make_job(status=JobStatus.COMPLETED, started_at=at, completed_at=at, cost_usd=cost, **fields)

    old, older = ended(2, 1.5), ended(3, 2.5)
    for days_ago, cost in ((1, 0), (40, 9)):
        ended(days_ago, cost)
    ended(1, 9, organization=Organization.objects.create(name="others"))
    make_job(status=JobStatus.RUNNING, started_at=now, cost_usd=9)
    answer = client_of(alice).get("/api/metrics/costs?period=month").json()
    assert answer["recent_jobs"] == [{"job_id": old.pk, "cost": 1.5}, {"job_id": older.pk, "cost": 2.5}]
