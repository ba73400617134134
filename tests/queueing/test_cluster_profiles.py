"""What the queue says of jobs whose cluster makes them wait, and of those that no node can run any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.states import SYSTEM
from jobs import lifecycle
from jobs.models import Job
from jobs.providers.base import Snapshot
from jobs.providers.clusters.view import ClusterView
from jobs.statuses import JobStatus
from jobs.sync import clusters
from queueing import claims
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.providers import ClusterProvider, node
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
Enqueue = Callable[..., QueueEntry]
ClientOf = Callable[[User | None], APIClient]
NO_GPU = "No node has 8 GPUs; the largest has 2."
RESOURCES = "The cluster waits for 2 GPUs: Resources."


@pytest.fixture
def without_large_nodes(lab: ClusterProvider) -> None:
    lab.view = ClusterView("1.0", (node(),), unrunnable={"h100-x8": NO_GPU})
    clusters.look_now("lab")


@pytest.fixture
def at_lab(enqueue: Enqueue, lab: ClusterProvider) -> QueueEntry:
    """The entry of a job that the lab has, and lets wait."""
    entry = enqueue(provider="lab", config_name="handed-over")
    claims.claim_next()
    job = Job.objects.get(pk=entry.job_id)
    assert lifecycle.mark_submitted(job, Snapshot("x-1", JobStatus.QUEUED, waiting_reason=RESOURCES), actor=SYSTEM)
    return QueueEntry.objects.get()


@pytest.mark.usefixtures("without_large_nodes")
class TestUnrunnable:
    def test_a_waiting_job_says_so_and_is_not_failed(self, enqueue: Enqueue, client_of: ClientOf, alice: User) -> None:
        entry = enqueue(provider="lab", hardware_profile="h100-x8")
        answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
        assert answer["waiting_reason"] == NO_GPU
        assert [(one["kind"], one["sentence"]) for one in answer["blockers"]] == [("hardware", NO_GPU)]
        assert answer["estimated_wait_seconds"] is None
        assert Job.objects.get().status == JobStatus.PENDING

    def test_another_profile_waits_for_its_turn_alone(self, enqueue: Enqueue, client_of: ClientOf, alice: User) -> None:
        entry = enqueue(provider="lab", hardware_profile="h100")
        answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
        assert (answer["waiting_reason"], answer["blockers"]) == ("Starts in a moment.", [])

    def test_a_limit_is_named_behind_it(self, enqueue: Enqueue, client_of: ClientOf, alice: User) -> None:
        QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
        entry = enqueue(provider="lab", hardware_profile="h100-x8")
        answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
        assert [one["kind"] for one in answer["blockers"]] == ["hardware", "paused"]

    def test_the_job_page_says_what_would_help(self, enqueue: Enqueue, alice: User) -> None:
        entry = enqueue(provider="lab", hardware_profile="h100-x8")
        page = read_page(alice, f"/jobs/{entry.job_id}")
        assert NO_GPU in page and "A suitable node must join the cluster" in page


class TestHandedOver:
    def test_the_queue_says_what_the_cluster_waits_for(
        self, at_lab: QueueEntry, client_of: ClientOf, alice: User
    ) -> None:
        client = client_of(alice)
        [entry] = client.get("/api/queue").json()["entries"]
        assert (entry["status"], entry["waiting_reason"]) == (EntryStatus.DISPATCHING, RESOURCES)
        assert client.get(f"/api/queue/position/{at_lab.job_id}").json()["waiting_reason"] == RESOURCES
        assert RESOURCES in read_page(alice, "/queue")

    def test_the_admin_lists_it(self, at_lab: QueueEntry, root: User, client: Any) -> None:
        client.force_login(root)
        assert RESOURCES in client.get("/admin/queueing/queueentry/").content.decode()

    def test_it_is_gone_when_the_job_runs(self, at_lab: QueueEntry, client_of: ClientOf, alice: User) -> None:
        Job.objects.update(status=JobStatus.RUNNING)
        [entry] = client_of(alice).get("/api/queue").json()["entries"]
        assert entry["waiting_reason"] is None
