"""Why a job waits at its provider: stored with each answer, gone when it runs or ends, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.api.serializers import FACET_FIELDS
from jobs.extensions import facets_of
from jobs.models import Job, JobEvent, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.providers.clusters.view import ClusterView
from jobs.statuses import JobStatus
from jobs.sync import clusters, refresh
from jobs.sync.apply import SnapshotBatch
from jobs.sync.waiting import reasons_at_providers
from tests.events import published_events
from tests.providers import ClusterProvider, node

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
QUEUED, RUNNING = JobStatus.QUEUED, JobStatus.RUNNING
RESOURCES = "The cluster waits for 2 GPUs: Resources."


@pytest.fixture
def make(make_job: MakeJob, lab: ClusterProvider) -> MakeJob:
    """A job that the lab has queued."""

    def make_one(**fields: Any) -> Job:
        return make_job(**{"provider": "lab", "status": QUEUED, "external_id": "x-1", **fields})

    return make_one


def polled(lab: ClusterProvider, job: Job, snapshot: Snapshot) -> Job:
    """The job after a poll that brought `snapshot`."""
    lab.answers[job.pk] = snapshot
    refresh.refresh([Job.objects.get(pk=job.pk)], source=Source.POLL)
    return Job.objects.get(pk=job.pk)


def waiting_reason(job: Job, viewer: User) -> str | None:
    reason: str | None = facets_of([job], viewer, FACET_FIELDS)[job.pk].get("waiting_reason")
    return reason


def test_the_reason_is_kept_and_told_once(make: MakeJob, lab: ClusterProvider) -> None:
    job = make()
    before = published_events().count()
    for _ in range(2):
        kept = polled(lab, job, Snapshot("x-1", QUEUED, waiting_reason=RESOURCES))
        assert kept.provider_waiting_reason == RESOURCES
    [event] = published_events()[before:]
    assert '"status": "queued", "previous_status": "queued"' in event.data
    assert not JobEvent.objects.exists()  # a history of places in a line helps nobody


def test_a_provider_that_says_nothing_any_more_takes_it_back(make: MakeJob, lab: ClusterProvider) -> None:
    job = make(provider_waiting_reason=RESOURCES)
    assert polled(lab, job, Snapshot("x-1", QUEUED)).provider_waiting_reason is None


def test_a_status_that_nobody_knows_takes_nothing_back(make: MakeJob, lab: ClusterProvider) -> None:
    job = make(provider_waiting_reason=RESOURCES)
    assert polled(lab, job, Snapshot("x-1", None)).provider_waiting_reason == RESOURCES


@pytest.mark.parametrize("status", [RUNNING, JobStatus.COMPLETED, JobStatus.CANCELLED])
def test_it_is_gone_once_the_job_runs_or_has_ended(make: MakeJob, lab: ClusterProvider, status: JobStatus) -> None:
    job = make(provider_waiting_reason=RESOURCES)
    kept = polled(lab, job, Snapshot("x-1", status, waiting_reason=RESOURCES))
    assert (kept.status, kept.provider_waiting_reason) == (status, None)


def test_it_is_gone_when_we_end_the_job(make: MakeJob) -> None:
    job = make(provider_waiting_reason=RESOURCES)
    assert lifecycle.finish(job, JobStatus.FAILED, actor=SYSTEM, source=Source.LOOP, reason="lost")
    assert Job.objects.get().provider_waiting_reason is None


def test_a_job_that_is_taken_waits_from_the_first_answer_on(make_job: MakeJob, lab: ClusterProvider) -> None:
    job = make_job(provider="lab")
    assert lifecycle.mark_submitted(job, Snapshot("x-1", QUEUED, waiting_reason=RESOURCES), actor=SYSTEM)
    assert Job.objects.get().provider_waiting_reason == RESOURCES


def test_an_answer_that_a_later_one_overtook_shows_nothing(make: MakeJob, alice: User) -> None:
    job = make()
    batch = SnapshotBatch({job.pk: job}, ProviderConfig(name=job.provider), Source.POLL)
    Job.objects.update(status=RUNNING)  # a webhook was quicker
    before = published_events().count()
    batch.apply({job.pk: Snapshot("x-1", QUEUED, waiting_reason=RESOURCES)})
    assert published_events().count() == before
    assert waiting_reason(Job.objects.get(), alice) is None


def test_what_no_column_takes_and_what_is_too_long_is_cut(make: MakeJob, lab: ClusterProvider) -> None:
    kept = polled(lab, make(), Snapshot("x-1", QUEUED, waiting_reason="a\0b" + "c" * 1000))
    assert kept.provider_waiting_reason == "ab" + "c" * 298


class TestShown:
    def test_the_api_and_the_queue_say_it(self, make: MakeJob, client_of: ClientOf, alice: User) -> None:
        job = make(provider_waiting_reason=RESOURCES)
        client = client_of(alice)
        assert client.get(f"/api/cloud/jobs/{job.pk}").json()["job"]["waiting_reason"] == RESOURCES
        assert client.get("/api/cloud/jobs").json()["jobs"][0]["waiting_reason"] == RESOURCES

    def test_a_job_that_waits_for_nothing_has_none(self, make: MakeJob, alice: User) -> None:
        assert waiting_reason(make(), alice) is None
        assert waiting_reason(make(external_id="x-2", status=RUNNING, provider_waiting_reason="old"), alice) is None

    def test_a_profile_that_no_node_can_run_any_more_is_said_in_its_place(
        self, make: MakeJob, lab: ClusterProvider, alice: User
    ) -> None:
        lab.view = ClusterView("1.0", (node(),), unrunnable={"gpu": "No node has a GPU any more."})
        clusters.look_now("lab")
        job = make(hardware_profile="gpu", provider_waiting_reason=RESOURCES)
        assert waiting_reason(job, alice) == "No node has a GPU any more."
        assert Job.objects.get().status == QUEUED

    def test_a_cancel_that_the_cluster_has_not_confirmed_is_said(self, make: MakeJob, alice: User) -> None:
        fields = {"cancel_requested_at": timezone.now(), "cancel_requested_by": "alice"}
        job = make(provider_waiting_reason=RESOURCES, **fields)
        assert waiting_reason(job, alice) == f"A stop was requested, but lab has not confirmed it yet. {RESOURCES}"
        assert waiting_reason(make(external_id="x-2", **fields), alice) == (
            "A stop was requested, but lab has not confirmed it yet."
        )

    def test_its_pages_say_it(self, make: MakeJob, alice: User, client: Any) -> None:
        job = make(provider_waiting_reason=RESOURCES)
        client.force_login(alice)
        assert RESOURCES in client.get("/").content.decode()
        assert RESOURCES in client.get(f"/jobs/{job.pk}").content.decode()
        Job.objects.update(cancel_requested_at=timezone.now(), cancel_requested_by="alice")
        shown = client.get(f"/jobs/{job.pk}").content.decode()
        assert f"Cancelled by alice. Waiting for lab to confirm. {RESOURCES}" in shown

    def test_many_cost_one_query(self, make: MakeJob, alice: User, django_assert_num_queries: Any) -> None:
        jobs = [make(external_id=f"x-{number}", provider_waiting_reason=RESOURCES) for number in range(5)]
        with django_assert_num_queries(1):
            assert len(reasons_at_providers(jobs)) == 5
