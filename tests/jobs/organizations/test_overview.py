"""What lists of organizations count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User

from jobs.models import Job, Organization
from jobs.organizations.overview import organizations_by_name
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db


def test_members_and_jobs_in_work_are_counted_once(
    acme: Organization, alice: User, bob: User, charlie: User, make_job: Callable[..., Job]
) -> None:
    for status in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED):
        make_job(status=status)
    Organization.objects.create(name="empty")
    found: Iterable[Any] = organizations_by_name()
    assert [(one.name, one.member_count, one.active_count) for one in found] == [
        ("acme", 2, 2),
        ("empty", 0, 0),
        ("other", 1, 0),
    ]
