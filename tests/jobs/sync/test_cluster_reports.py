"""What operators read of the providers, made of stored looks alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.models import ClusterLook, Job, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import ClusterView
from jobs.statuses import JobStatus
from jobs.sync import clusters
from jobs.sync.cluster_reports import GpuCount, InstanceReport, instance_reports
from tests.providers import ClusterProvider, node

pytestmark = pytest.mark.django_db


def report(name: str = "lab") -> InstanceReport:
    [found] = [one for one in instance_reports() if one.name == name]
    return found


def test_a_cluster_that_nobody_has_looked_at(lab: ClusterProvider) -> None:
    found = report()
    assert (found.state, found.is_cluster, found.nodes, found.seen_at) == ("Not seen yet", True, [], None)
    assert lab.looks == 0


def test_a_cluster_that_answers(lab: ClusterProvider) -> None:
    lab.view = ClusterView(
        "2.60.0",
        (node("node-10"), node("node-2"), node("node-3", state="drain", is_usable=False)),
        unrunnable={"gpu": "No node has 8 GPUs."},
        warnings=("It takes jobs from anybody.",),
    )
    clusters.look_now("lab")
    found = report()
    assert (found.state, found.version, found.problem) == ("Ready", "2.60.0", "")
    assert [one.name for one in found.nodes] == ["node-3", "node-2", "node-10"]  # what is unusable first
    assert found.unrunnable == {"gpu": "No node has 8 GPUs."}
    assert found.warnings == ("It takes jobs from anybody.",)
    assert found.seen_at is not None


def test_one_that_does_not_answer_keeps_what_was_seen(lab: ClusterProvider) -> None:
    clusters.look_now("lab")
    lab.view = ProviderError("connection refused")
    ClusterLook.objects.update(looked_at=None)
    clusters.look_now("lab")
    found = report()
    assert (found.state, found.error, len(found.nodes)) == ("Last look failed", "connection refused", 1)
    assert found.problem.startswith("Lab could not be checked: connection refused.")
    assert found.error_at is not None and found.seen_at is not None and found.error_at > found.seen_at


def test_one_that_nobody_has_looked_at_for_long(lab: ClusterProvider) -> None:
    clusters.look_now("lab")
    ClusterLook.objects.update(seen_at=timezone.now() - timedelta(minutes=11))  # the background stands still
    assert (report().state, len(report().nodes)) == ("Not seen lately", 1)


def test_one_without_a_usable_node_takes_no_jobs(lab: ClusterProvider) -> None:
    lab.view = ClusterView("1.0", ())
    clusters.look_now("lab")
    assert (report().state, report().problem) == ("Needs attention", "Lab has no node that accepts trainings.")


def test_one_that_is_switched_off(lab: ClusterProvider) -> None:
    ProviderConfig.objects.create(name="lab", enabled=False)
    assert report().state == "Switched off"


def test_jobs_that_run_and_wait_there_are_counted(lab: ClusterProvider, make_job: Callable[..., Job]) -> None:
    for number, status in enumerate(("queued", "queued", "running", "completed", "pending")):
        make_job(provider="lab", status=JobStatus(status), external_id=f"x-{number}")
    assert (report().running, report().waiting) == (1, 2)
    assert (report("local").running, report("local").waiting) == (0, 0)


def test_a_provider_without_nodes_is_no_cluster(lab: ClusterProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    assert (report("local").is_cluster, report("local").state) == (False, "Ready")
    assert report("replicate").problem.startswith("REPLICATE_API_TOKEN is not set")
    [unasked] = [one for one in instance_reports(with_access=False) if one.name == "replicate"]
    assert unasked.problem == ""  # what a command's own environment lacks says nothing of the site


def test_more_clusters_cost_no_more_queries(
    lab: ClusterProvider, add_provider: Callable[..., None], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        instance_reports()
    for number in range(5):
        add_provider(ClusterProvider(f"lab-{number}"))
        clusters.look_now(f"lab-{number}")
    with django_assert_num_queries(3):
        assert len(instance_reports()) == 8


@pytest.mark.parametrize(
    ("nodes", "shown"),
    [
        ([], "none"),
        ([node(gpus=0, free_gpus=0)], "none"),
        ([node(gpus=8, free_gpus=3), node(gpus=4, free_gpus=4)], "7 free, 5 taken"),
        ([node(gpus=8, free_gpus=8)], "8 free"),
        ([node(gpus=8, free_gpus=None), node(gpus=2, free_gpus=0)], "2 taken, 8 not known"),
        ([node(gpus=8, free_gpus=8, is_usable=False)], "8 on nodes that accept no jobs"),
    ],
)
def test_gpus_in_a_few_words(nodes: list[Any], shown: str) -> None:
    assert str(GpuCount.of(nodes)) == shown
