"""Trainings that were found at a provider, and are stored as jobs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from cloudtrain_site.states import Source
from jobs.models import Job, Organization
from jobs.providers.base import DiscoveredTraining, Snapshot
from jobs.statuses import JobStatus
from jobs.sync.adoption import adopt_discovered

pytestmark = pytest.mark.django_db
RUNNING = JobStatus.RUNNING
AN_HOUR = timedelta(hours=1)


def adopt(acme: Organization, snapshot: Snapshot) -> Job:
    found = DiscoveredTraining(
        snapshot=snapshot,
        created_at=timezone.now() - AN_HOUR,
        name="Flux",
        config={},
        dataloader_config=[],
        marker=None,
    )
    [job] = adopt_discovered([found], provider="replicate", organization=acme, source=Source.POLL)
    return job


def test_a_found_training_is_stored_as_its_provider_describes_it(acme: Organization) -> None:
    began = timezone.now() - timedelta(minutes=30)
    fields = {"error_message": "out of memory", "output_url": "https://example.org/x", "hardware": "h100"}
    snapshot = Snapshot(
        "x-1",
        JobStatus.FAILED,
        started_at=began,
        error_message=fields["error_message"],
        output_url=fields["output_url"],
        hardware="h100",
        cost_usd=Decimal("1.5"),
        metadata={"version": "v1"},
    )
    job = adopt(acme, snapshot)
    kept = Job.objects.get()
    assert (kept.status, kept.error_message, kept.output_url, kept.hardware_profile) == ("failed", *fields.values())
    assert (kept.cost_usd, kept.started_at, kept.metadata["version"]) == (Decimal("1.5"), began, "v1")
    assert kept.metadata["discovered"] is True
    assert job.pk == kept.pk


def test_of_a_found_training_that_says_little_nothing_is_invented(acme: Organization) -> None:
    adopt(acme, Snapshot("x-1", None))
    kept = Job.objects.get()
    assert (kept.status, kept.error_message, kept.output_url, kept.hardware_profile) == ("queued", "", "", "")
    assert (kept.cost_usd, kept.cost_doubt, kept.started_at, kept.completed_at) == (Decimal(0), None, None, None)


def test_a_found_training_of_unknown_cost_says_why(acme: Organization) -> None:
    job = adopt(acme, Snapshot("x-1", JobStatus.COMPLETED, cost_doubt="there is no price for h100."))
    job.refresh_from_db()
    assert (job.known_cost, job.cost_doubt) == (None, "there is no price for h100.")
