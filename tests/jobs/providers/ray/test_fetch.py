"""Following trainings on a pretended Ray, also those that it does not know any more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.base import ProviderError
from jobs.statuses import JobStatus
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import CUT, FakeRay
from tests.jobs.providers.ray.records import (
    PREAMBLE,
    STARTED,
    a_minute_later,
    log_of,
    missing,
    record_end,
)


def test_many_jobs_take_one_request(cluster: Cluster, ray: FakeRay) -> None:
    handles = [cluster.submit() for _ in range(20)]
    ray.requests.clear()
    answers = asyncio.run(cluster.provider.fetch(handles))
    assert len(answers) == 20
    assert ray.requests == [("GET", "/api/jobs/")]


def test_a_job_that_waits_says_for_what(cluster: Cluster) -> None:
    snapshot = cluster.fetch(cluster.submit("gpu-x2"))
    assert (snapshot.status, snapshot.waiting_reason) == (JobStatus.QUEUED, "The cluster waits for 2 GPUs, 1 CPU.")


def test_a_cancelled_job_that_waits_says_that_the_cluster_will_end_it(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit("gpu-x2")
    cluster.cancel(handle)
    snapshot = cluster.fetch(replace(handle, cancel_requested_at=datetime.now(UTC)))
    assert snapshot.status == JobStatus.QUEUED
    assert snapshot.waiting_reason == (
        "The cluster was asked to cancel the job. It does so once it has room for the job."
    )


def test_a_completed_job_is_billed_for_the_time_that_the_runner_saw(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit("gpu")
    ray.run(handle.external_id, log_of(handle.external_id, b"step 1\n", exit_code=0))
    ray.end(handle.external_id, start_time=1_000_000_000_000)
    snapshot = cluster.fetch(handle)
    assert (snapshot.status, snapshot.billed_seconds) == (JobStatus.COMPLETED, 90.0)
    assert (snapshot.started_at, snapshot.hardware) == (datetime.fromisoformat(STARTED), "gpu")


@pytest.mark.parametrize(
    ("log", "fields", "sentence"),
    [
        (
            {"exit_code": 3},
            {"error_type": "JOB_ENTRYPOINT_COMMAND_ERROR"},
            "The trainer ended with exit code 3: out of memory",
        ),
        (
            {"error": "The trainer's program 'x' could not be started: it does not exist.", "exit_code": 127},
            {"error_type": "JOB_ENTRYPOINT_COMMAND_ERROR"},
            "The trainer's program 'x' could not be started: it does not exist.",
        ),
        (
            None,
            {"error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "driver_exit_code": 127},
            "The node has no “python3”. Set this provider's `python` to a Python of its nodes.",
        ),
        (
            None,
            {"error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "driver_exit_code": 2},
            "The job ended with exit code 2 before the trainer started: sh: 1: exec: python3: not found",
        ),
        (
            None,
            {"error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "Traceback\nNo space left on device"},
            "The cluster could not bring the job's files to a node (RUNTIME_ENV_SETUP_FAILURE). "
            "No space left on device",
        ),
    ],
)
def test_a_failed_job_says_why(
    cluster: Cluster, ray: FakeRay, log: dict[str, Any] | None, fields: dict[str, Any], sentence: str
) -> None:
    handle = cluster.submit()
    data = PREAMBLE + b"sh: 1: exec: python3: not found\n"
    if log is not None:
        data = log_of(handle.external_id, b"out of memory\n", **log)
    ray.run(handle.external_id, data)
    ray.end(handle.external_id, "FAILED", **fields)
    snapshot = cluster.fetch(handle)
    assert (snapshot.status, snapshot.error_message) == (JobStatus.FAILED, sentence)


def test_a_job_that_lost_its_node_fails_once_its_runner_had_its_grace(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id)
    ray.logs.clear()
    ray.nodes[0]["state"] = "DEAD"
    died = {"error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "The actor's node has died."}
    ray.end(handle.external_id, "FAILED", **died)
    assert cluster.fetch(handle).status is None  # its trainer may run still
    ray.jobs[handle.external_id]["end_time"] -= 25_000
    snapshot = cluster.fetch(handle)
    assert (snapshot.status, snapshot.error_message) == (
        JobStatus.FAILED,
        "The cluster lost the training: its node died, or Ray was restarted (JOB_SUPERVISOR_ACTOR_DIED). "
        "The actor's node has died.",
    )


def test_a_stopped_job_that_never_ran_costs_nothing(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.end(handle.external_id, "STOPPED")
    snapshot = cluster.fetch(handle)
    assert (snapshot.status, snapshot.billed_seconds) == (JobStatus.CANCELLED, 0.0)


def test_a_trainer_that_saved_and_ended_with_0_was_stopped_all_the_same(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"saved\n", exit_code=0, stopped=True))
    ray.end(handle.external_id, "STOPPED")
    assert cluster.fetch(handle).status == JobStatus.CANCELLED


def test_a_job_that_the_cluster_does_not_know_is_lost_after_two_looks_a_minute_apart(
    cluster: Cluster, ray: FakeRay
) -> None:
    handle = cluster.submit()
    ray.jobs.clear()
    first = cluster.fetch(handle)
    assert first.status is None
    soon = replace(handle, metadata={**handle.metadata, **first.metadata})
    assert cluster.fetch(soon).status is None
    late = cluster.fetch(a_minute_later(soon))
    assert (late.status, late.error_message) == (
        JobStatus.FAILED,
        "The Ray cluster no longer knows the training: it was deleted there, or the head node was restarted.",
    )


def test_a_cluster_that_was_made_anew_is_said(cluster: Cluster, ray: FakeRay) -> None:
    handle = missing(cluster, ray)
    ray.session = "session_2"
    assert cluster.fetch(handle).error_message == (
        "The training is lost: the Ray cluster was set up again without its earlier jobs."
    )


def test_a_lost_job_whose_cancellation_was_asked_for_is_cancelled(cluster: Cluster, ray: FakeRay) -> None:
    handle = missing(cluster, ray, cancel_requested_at=datetime.now(UTC))
    assert cluster.fetch(handle).status == JobStatus.CANCELLED


def test_a_job_that_turns_up_again_is_not_lost_later(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    kept = dict(ray.jobs)
    ray.jobs.clear()
    handle = replace(handle, metadata=cluster.fetch(handle).metadata)
    ray.jobs.update(kept)
    assert cluster.fetch(handle).metadata == {"missing_since": None}


def test_a_lost_job_ended_as_its_runner_recorded(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = missing(shared, ray)
    record_end(tmp_path / handle.external_id, exit_code=0)
    snapshot = shared.fetch(handle)
    assert (snapshot.status, snapshot.billed_seconds) == (JobStatus.COMPLETED, 90.0)


def test_a_lost_job_that_its_runner_ended_with_its_supervisor_has_failed(
    shared: Cluster, ray: FakeRay, tmp_path: Path
) -> None:
    handle = missing(shared, ray)
    record_end(tmp_path / handle.external_id, exit_code=-15, stopped=True)
    snapshot = shared.fetch(handle)
    assert (snapshot.status, snapshot.billed_seconds) == (JobStatus.FAILED, 90.0)
    assert (snapshot.error_message or "").startswith("The Ray cluster no longer knows the training")
    assert shared.fetch(replace(handle, cancel_requested_at=datetime.now(UTC))).status == JobStatus.CANCELLED


def test_a_job_that_somebody_else_stopped_says_so(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"saved\n", exit_code=0, stopped=True))
    ray.end(handle.external_id, "STOPPED")
    assert cluster.fetch(handle).error_message == "The job was stopped at the cluster."
    asked = replace(handle, cancel_requested_at=datetime.now(UTC))
    assert cluster.fetch(asked).error_message is None


def test_a_head_that_forgot_to_look_after_its_jobs_is_woken(cluster: Cluster, ray: FakeRay) -> None:
    handle, ended = cluster.submit(), cluster.submit()
    ray.end(ended.external_id)
    ray.requests.clear()
    cluster.fetch(handle)
    assert ray.requests == [("GET", "/api/jobs/")]  # it waits since just now
    ray.jobs[handle.external_id]["start_time"] -= 61_000
    cluster.fetch(handle)
    assert ray.requests[-1] == ("POST", f"/api/jobs/{ended.external_id}/stop")
    assert ray.jobs[ended.external_id]["status"] == "SUCCEEDED"


def test_a_head_without_an_ended_job_is_woken_by_a_small_one(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.jobs[handle.external_id]["start_time"] -= 61_000
    for _ in range(2):
        assert cluster.fetch(handle).status == JobStatus.QUEUED
    assert [body["submission_id"] for body in ray.bodies[1:]] == ["cloudtrain-wakes-ray"]


def test_nothing_is_lost_while_the_head_is_away(cluster: Cluster, ray: FakeRay) -> None:
    handle = missing(cluster, ray)
    ray.instead = lambda method, path: CUT if path == "/api/version" else None
    assert isinstance(cluster.answer(handle), ProviderError)


def test_a_job_that_ray_calls_running_for_ever_fails_with_its_node(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id)
    ray.nodes[0]["state"] = "DEAD"
    first = cluster.fetch(handle)
    assert first.status is None
    late = cluster.fetch(a_minute_later(replace(handle, metadata={**handle.metadata, **first.metadata})))
    assert (late.status, late.error_message) == (
        JobStatus.FAILED,
        "The training is lost: its node died, or Ray was restarted on it.",
    )


def test_many_running_jobs_take_two_requests(cluster: Cluster, ray: FakeRay) -> None:
    handles = [cluster.submit() for _ in range(20)]
    for handle in handles:
        ray.run(handle.external_id)
    ray.requests.clear()
    assert len(asyncio.run(cluster.provider.fetch(handles))) == 20
    assert [path for _, path in ray.requests] == ["/api/jobs/", "/api/v0/nodes?limit=10000"]
