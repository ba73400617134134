"""A training that Ray lost before its runner began is submitted again under its marker, where a folder is shared."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.base import Handle, ProviderError
from jobs.providers.ray import submission
from jobs.statuses import JobStatus
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import Answer, FakeRay, as_json, as_text
from tests.jobs.providers.ray.records import log_of, missing, on_submission, record_end

TIMEOUT = {"error_type": "JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "message": "It failed to start within 900 seconds."}
DIED = {"error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "The actor's node has died."}


def lost(cluster: Cluster, ray: FakeRay, **error: str) -> Handle:
    """A job that Ray says has failed a minute ago."""
    handle = cluster.submit()
    ray.end(handle.external_id, "FAILED", **(error or TIMEOUT))
    ray.jobs[handle.external_id]["end_time"] -= 60_000
    return handle


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("submission.*"))


@pytest.mark.parametrize("error", [TIMEOUT, DIED])
def test_what_never_began_is_submitted_again_as_it_was(shared: Cluster, ray: FakeRay, error: dict[str, str]) -> None:
    handle = lost(shared, ray, **error)
    packages = dict(ray.packages)
    ray.packages.clear()  # Ray keeps none for longer than ten minutes
    assert shared.fetch(handle).status == JobStatus.QUEUED
    assert ray.jobs[handle.external_id]["status"] == "PENDING"
    assert ray.bodies == [ray.bodies[0]] * 2
    assert ray.packages == packages


def test_what_ray_does_not_know_is_submitted_again(shared: Cluster, ray: FakeRay) -> None:
    handle = missing(shared, ray)
    ray.session = "session_2"
    snapshot = shared.fetch(handle)
    assert snapshot.status == JobStatus.QUEUED
    assert snapshot.metadata == {"missing_since": None, "session": "session_2"}
    assert list(ray.jobs) == [handle.external_id]


def test_without_a_shared_folder_it_has_failed(cluster: Cluster, ray: FakeRay) -> None:
    assert cluster.fetch(lost(cluster, ray)).status == JobStatus.FAILED
    assert len(ray.bodies) == 1


def test_what_began_is_never_submitted_again(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = lost(shared, ray, **DIED)
    record_end(tmp_path / handle.external_id, exit_code=-15, stopped=True)
    assert shared.fetch(handle).status == JobStatus.FAILED
    assert len(ray.bodies) == 1


def test_a_damaged_claim_is_a_beginning_too(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = lost(shared, ray, **DIED)
    (tmp_path / handle.external_id / "process.json").write_text("")
    assert shared.fetch(handle).status == JobStatus.FAILED
    assert len(ray.bodies) == 1


def test_a_trainers_own_failure_is_its_end(shared: Cluster, ray: FakeRay) -> None:
    handle = shared.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"no\n", exit_code=1))
    ray.end(handle.external_id, "FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=1)
    assert shared.fetch(handle).status == JobStatus.FAILED
    assert len(ray.bodies) == 1


def test_a_cancelled_one_is_not_submitted_again(shared: Cluster, ray: FakeRay) -> None:
    handle = shared.submit()
    shared.cancel(handle)
    asked = replace(handle, cancel_requested_at=datetime.now(UTC))
    ray.end(handle.external_id, "FAILED", **TIMEOUT)
    assert shared.fetch(asked).status in (JobStatus.CANCELLED, JobStatus.FAILED)
    assert len(ray.bodies) == 1


def test_who_looks_at_the_log_meanwhile_ends_nothing(shared: Cluster, ray: FakeRay) -> None:
    handle = lost(shared, ray)
    assert shared.fetch(handle, with_log=True).status is None
    assert shared.fetch(handle).status == JobStatus.QUEUED


def test_two_that_look_at_once_submit_it_once(shared: Cluster, ray: FakeRay) -> None:
    handle = lost(shared, ray)
    old = dict(ray.jobs[handle.external_id])
    assert shared.fetch(handle).status == JobStatus.QUEUED
    ray.after = lambda method, path: _with(old, method, path)
    assert shared.fetch(handle).status is None
    assert len(ray.bodies) == 2


def _with(row: dict[str, Any], method: str, path: str) -> Answer | None:
    return as_json([row]) if (method, path) == ("GET", "/api/jobs/") else None


def test_after_five_times_it_has_failed_and_says_why(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = lost(shared, ray)
    for _ in range(submission.MAX_SUBMISSIONS - 1):
        assert shared.fetch(handle).status == JobStatus.QUEUED
        ray.end(handle.external_id, "FAILED", **TIMEOUT)
    snapshot = shared.fetch(handle)
    assert snapshot.status == JobStatus.FAILED
    assert "had no room for the job in time" in (snapshot.error_message or "")
    assert len(ray.bodies) == submission.MAX_SUBMISSIONS
    assert kept(tmp_path / handle.external_id) == []


def test_a_refusal_of_the_second_submission_is_tried_again(shared: Cluster, ray: FakeRay) -> None:
    handle = lost(shared, ray)
    ray.instead = on_submission(as_text("RuntimeError: the store is away", 500))
    assert isinstance(shared.answer(handle), ProviderError)
    ray.instead = lambda method, path: None
    first = shared.fetch(handle)
    assert first.status is None  # Ray does not know it, for less than a minute
    assert len(ray.bodies) == 1


def test_what_is_kept_has_the_secrets_for_the_site_alone_until_the_runner_began(
    shared: Cluster, ray: FakeRay, tmp_path: Path
) -> None:
    handle = shared.submit()
    folder = tmp_path / handle.external_id
    assert kept(folder) == ["submission.json", "submission.zip"]
    assert {path.stat().st_mode & 0o777 for path in folder.glob("submission.*")} == {0o600}
    ray.run(handle.external_id)
    shared.fetch(handle)
    assert len(kept(folder)) == 2
    record_end(folder, exit_code=0)
    shared.fetch(handle)
    assert kept(folder) == []
