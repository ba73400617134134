"""Jobs on a real Slurm, as submitters and operators see them: refused, waiting for GPUs, cancelled while they wait."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from rest_framework.test import APIClient

from cloudtrain_site.conf.providers import HardwareProfile
from cloudtrain_site.states import Source
from examples.clusters.slurm import GPUS
from jobs.models import Job
from jobs.statuses import JobStatus
from jobs.sync import clusters, refresh
from queueing import dispatch
from queueing.models import QueueState
from tests.jobs.providers.slurm.trainings import ENDLESS, PATIENCE_SECONDS
from tests.slurm import SlurmCluster, slurm, slurm_cluster
from tests.wait import wait_until
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
#: The cluster has two nodes, each with so many GPUs.
PROFILES = {"node": HardwareProfile("node", gpus=GPUS), "many": HardwareProfile("many", gpus=64)}


@pytest.fixture
def submit(
    slurm: SlurmCluster, add_provider: Callable[..., None], client_of: Callable[..., APIClient], alice: User
) -> Callable[..., Any]:
    """Submit as alice, and hand over what may go."""
    provider = slurm.provider(*ENDLESS, hardware=PROFILES)
    add_provider(provider)

    def send(profile: str) -> Any:
        body = {"config": {"max_train_steps": 10}, "hardware_profile": profile}
        answer = client_of(alice).post(f"/api/cloud/jobs/submit?provider={provider.name}", body)
        dispatch.run_pass()
        return answer

    return send


def polled() -> list[tuple[str, str | None]]:
    """Status and reason of each job after a poll, the oldest first."""
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    return list(Job.objects.order_by("id").values_list("status", "provider_waiting_reason"))


def test_what_no_node_has_is_refused_and_what_is_taken_waits_for_its_gpus(
    submit: Callable[..., Any], alice: User, root: User, client_of: Callable[..., APIClient]
) -> None:
    refused = submit("many")
    assert refused.status_code == 400 and "64 GPUs" in refused.json()["errors"]["hardware_profile"][0]
    QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 5})
    assert [submit("node").status_code for _ in range(3)] == [201] * 3

    running, queued = JobStatus.RUNNING, JobStatus.QUEUED
    wait_until(lambda: [status for status, _ in polled()] == [running, running, queued], PATIENCE_SECONDS)
    wait_until(lambda: "The cluster waits for" in (polled()[2][1] or ""), PATIENCE_SECONDS)
    assert [reason for _, reason in polled()[:2]] == [None, None]
    jobs = list(Job.objects.order_by("id"))
    client = client_of(alice)
    shown = client.get(f"/api/cloud/jobs/{jobs[2].pk}").json()["job"]["waiting_reason"]
    assert shown == "The cluster waits for 2 GPUs: Resources." and shown in read_page(alice, "/queue")

    for job in reversed(jobs):
        assert client.post(f"/api/cloud/jobs/{job.pk}/cancel").json()["success"]
        refresh.cancel_at_providers([Job.objects.get(pk=job.pk)])
    wait_until(lambda: polled() == [(JobStatus.CANCELLED, None)] * 3, PATIENCE_SECONDS)


def test_its_nodes_are_listed(submit: Callable[..., Any], slurm: SlurmCluster, root: User) -> None:
    assert clusters.look_where_due() == {"seen": 1, "failed": 0}
    written = StringIO()
    call_command("machines", stdout=written)
    page = read_page(root, "/machines")
    for text in ("n1", "n2", "many"):
        assert text in written.getvalue() and text in page, text
    assert "64 GPUs" in page and "Ready" in page
