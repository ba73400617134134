"""Many who ask for a refresh at the same moment cause one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from examples.fake_replicate import FakeReplicate
from jobs.models import Job, ProviderConfig
from jobs.statuses import JobStatus
from jobs.sync import refresh
from tests.races import at_once

ClientOf = Callable[[User | None], APIClient]
MakeJob = Callable[..., Job]


def requests_of(fake: FakeReplicate) -> int:
    return fake.requests.count("GET")


@pytest.mark.django_db(transaction=True)
def test_all_who_ask_at_the_same_moment_are_served_by_one_refresh(
    client_of: ClientOf, alice: User, charlie: User, at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    job = at_replicate()
    fake.update(job.external_id or "", "processing")
    fake.latency = 0.5

    def ask(user: User) -> dict[str, Any]:
        answer: dict[str, Any] = client_of(user).get("/api/cloud/jobs?sync_active=true").json()
        return {**answer["sync"], "seen": [shown["status"] for shown in answer["jobs"]]}

    answers = at_once(*[lambda: ask(alice)] * 4, lambda: ask(charlie))
    assert answers[:4] == [{"refreshed": 1, "failed": 0, "seen": ["running"]}] * 4
    assert answers[4] == {"refreshed": 0, "failed": 0, "seen": []}
    assert requests_of(fake) == 1


@pytest.mark.django_db
def test_who_comes_afterwards_asks_again(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    job = at_replicate()
    for status in ("processing", "succeeded"):
        fake.update(job.external_id or "", status)
        assert refresh.refresh_shared([job], source="api").refreshed == 1
    assert Job.objects.get().status == JobStatus.COMPLETED
    assert requests_of(fake) == 2


@pytest.mark.django_db
def test_one_that_was_killed_holds_nobody_back_for_ever(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    job = at_replicate()
    ProviderConfig.objects.update_or_create(
        name="replicate", defaults={"refresh_until": timezone.now() - timedelta(seconds=1)}
    )
    refresh.refresh_shared([job], source="api")
    assert requests_of(fake) == 1


@pytest.mark.django_db
def test_another_process_that_is_at_it_is_waited_for(
    at_replicate: MakeJob, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = at_replicate()
    ProviderConfig.objects.update_or_create(
        name="replicate", defaults={"refresh_until": timezone.now() + timedelta(seconds=20)}
    )
    monkeypatch.setattr("jobs.sync.refresh.time.sleep", lambda _: ProviderConfig.objects.update(refresh_until=None))
    assert refresh.refresh_shared([job], source="api").refreshed == 1
    assert requests_of(fake) == 0


@pytest.mark.django_db
def test_an_outage_counts_as_failed_for_everybody(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    job = at_replicate()
    fake.faults.add("unauthenticated")
    for _ in range(2):
        outcome = refresh.refresh_shared([job], source="api")
        assert (outcome.refreshed, outcome.failed) == (0, 1)
    assert requests_of(fake) == 1
