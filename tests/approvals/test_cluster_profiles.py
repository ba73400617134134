"""A profile that no node can ever run is refused before a job is made; what nobody knows is said and taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import ClusterLook, Job
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import ClusterView
from jobs.statuses import JobStatus
from jobs.sync import clusters
from queueing.models import QueueEntry
from tests.providers import ClusterProvider, node

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
NO_GPU = "No node has 8 GPUs; the largest has 2."
SMALL, LARGE = "cpu", "gpu"


@pytest.fixture
def seen(lab: ClusterProvider) -> ClusterProvider:
    """The lab after a look: no node can run the large profile."""
    lab.view = ClusterView("1.0", (node(),), unrunnable={LARGE: NO_GPU})
    clusters.look_now("lab")
    return lab


@pytest.fixture
def submit(alice: User, client_of: ClientOf) -> Callable[..., Any]:
    def send(hardware: str = LARGE, key: str = "", **fields: Any) -> Any:
        body = {"config": {"max_train_steps": 10}, "hardware_profile": hardware, **fields}
        headers = {"Idempotency-Key": key} if key else {}
        return client_of(alice).post("/api/cloud/jobs/submit?provider=lab", body, headers=headers)

    return send


def seen_before(**ago: float) -> None:
    then = timezone.now() - timedelta(**ago)
    ClusterLook.objects.update(seen_at=then, looked_at=then)


@pytest.mark.parametrize("fields", [{}, {"dry_run": True}])
def test_it_is_refused_with_the_sentence_and_nothing_is_stored(
    seen: ClusterProvider, submit: Callable[..., Any], fields: dict[str, Any]
) -> None:
    answer = submit(**fields)
    assert answer.status_code == 400
    body = answer.json()
    assert body["errors"] == {"hardware_profile": [NO_GPU]}
    assert NO_GPU in body["detail"] and body["code"] and body["correlation_id"]
    assert not Job.objects.exists() and not QueueEntry.objects.exists()
    assert seen.looks == 1  # by the stored look: nobody waits for the cluster


@pytest.mark.parametrize("fields", [{}, {"dry_run": True}])
def test_a_profile_that_some_node_can_run_is_taken_without_a_word(
    seen: ClusterProvider, submit: Callable[..., Any], fields: dict[str, Any]
) -> None:
    answer = submit(SMALL, **fields)
    assert answer.status_code in (200, 201)
    assert answer.json()["warnings"] == []
    assert seen.looks == 1


def test_what_was_seen_within_ten_minutes_counts_though_a_later_look_failed(
    seen: ClusterProvider, submit: Callable[..., Any]
) -> None:
    seen_before(minutes=9)
    seen.view = ProviderError("connection refused")
    clusters.look_now("lab")
    assert submit().status_code == 400
    assert seen.looks == 2


def test_a_cluster_that_is_away_is_a_warning(seen: ClusterProvider, submit: Callable[..., Any]) -> None:
    ClusterLook.objects.update(looked_at=None)
    seen.view = ProviderError("connection refused")
    clusters.look_now("lab")
    for fields in ({"dry_run": True}, {}):
        [warning] = submit(SMALL, **fields).json()["warnings"]
        assert warning.startswith("Lab could not be checked: connection refused. It was last seen at ")
        assert warning.endswith(" The job may wait until Lab answers again.")


def test_after_ten_minutes_the_cluster_is_asked_once_more(seen: ClusterProvider, submit: Callable[..., Any]) -> None:
    seen_before(minutes=11)
    seen.view = ClusterView("1.0", (node(gpus=8),))
    assert submit().status_code == 201
    assert seen.looks == 2


def test_a_cluster_that_nobody_has_looked_at_is_asked(lab: ClusterProvider, submit: Callable[..., Any]) -> None:
    lab.view = ClusterView("1.0", (node(),), unrunnable={LARGE: NO_GPU})
    assert submit().status_code == 400


@pytest.mark.parametrize("fields", [{}, {"dry_run": True}])
def test_what_the_cluster_does_not_answer_is_said_and_the_job_is_taken(
    lab: ClusterProvider, submit: Callable[..., Any], fields: dict[str, Any]
) -> None:
    lab.view = ProviderError("connection refused")
    answer = submit(**fields)
    assert answer.status_code in (200, 201)
    [warning] = answer.json()["warnings"]
    assert warning == "It can't be checked whether a node can run gpu: connection refused"


def test_a_cluster_that_hangs_costs_three_seconds_at_most(
    lab: ClusterProvider, submit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clusters.SHORT_LOOK_SECONDS == 3.0
    monkeypatch.setattr(clusters, "SHORT_LOOK_SECONDS", 0.05)
    lab.answers_at_once = False
    answer = submit()
    assert answer.status_code == 201
    assert "It did not answer within 0.05 s." in answer.json()["warnings"][0]


def test_while_somebody_else_asks_nobody_waits(lab: ClusterProvider, submit: Callable[..., Any]) -> None:
    until = timezone.now() + timedelta(seconds=20)
    ClusterLook.objects.create(provider="lab", looked_at=timezone.now(), look_until=until)
    answer = submit()
    assert answer.status_code == 201
    assert "It is being checked." in answer.json()["warnings"][0]
    assert lab.looks == 0


def test_a_replay_gives_the_job_though_its_profile_can_run_nowhere_now(
    seen: ClusterProvider, submit: Callable[..., Any]
) -> None:
    seen.view = ClusterView("1.0", (node(),))
    seen_before(minutes=11)
    first = submit(key="one")
    assert first.status_code == 201
    seen.view = ClusterView("1.0", (node(),), unrunnable={LARGE: NO_GPU})
    seen_before(minutes=11)
    again = submit(key="one")
    assert (again.status_code, again.json()["job_id"]) == (200, first.json()["job_id"])
    assert submit(key="two").status_code == 400


def test_a_retry_is_refused_too(
    seen: ClusterProvider, make_job: Callable[..., Job], client_of: ClientOf, alice: User
) -> None:
    job = make_job(provider="lab", hardware_profile=LARGE, status=JobStatus.FAILED)
    answer = client_of(alice).post(f"/api/cloud/jobs/{job.pk}/retry")
    assert (answer.status_code, answer.json()["errors"]) == (400, {"hardware_profile": [NO_GPU]})
    assert Job.objects.count() == 1


def test_a_provider_without_nodes_costs_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert clusters.check_profile("local", "cpu") == clusters.ProfileCheck()
