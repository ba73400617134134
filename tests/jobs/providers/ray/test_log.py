"""The logs of trainings on a pretended Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jobs.providers.base import Handle, ProviderError
from jobs.providers.runner.marks import mark
from jobs.statuses import JobStatus
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import FakeRay
from tests.jobs.providers.ray.records import (
    log_of,
)


def test_rays_own_lines_and_the_marks_are_not_in_the_log(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"step 1\n", b"step 2\n"))
    assert cluster.log(handle) == "step 1\nstep 2\n"


def test_a_log_is_gathered_look_by_look(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    lines = [f"step {number}: {'x' * 40}\n".encode() for number in range(5_000)]
    text, written = "", log_of(handle.external_id, *lines[:10])
    ray.run(handle.external_id, written)
    for first in range(10, 5_000, 998):
        more = lines[first : first + 998]
        handle = replace(handle, log_size=len(text.encode()))
        snapshot = cluster.fetch(handle, with_log=True)
        text += (snapshot.log or "").encode()[handle.log_size - snapshot.log_start :].decode()
        at = sum(map(len, lines[:first]))
        ray.logs[handle.external_id] += mark(at) + b"".join(more)
    ray.requests.clear()
    handle = replace(handle, log_size=len(text.encode()))
    text += cluster.fetch(handle, with_log=True).log or ""
    assert text == b"".join(lines).decode()
    assert any("lines=2000" in path for _, path in ray.requests)


def test_a_log_that_is_no_utf8_keeps_its_length(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"abcde\xff\xfe\x00 \xc3\xa4\r50%\n"))
    assert cluster.log(handle) == "abcde?? \xa0".replace("\xa0", " ") + "ä\r50%\n"


def test_a_running_log_ends_with_a_line(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"step 1\nhalf of hf_sec"))
    assert cluster.log(handle) == "step 1\n"


def test_an_ended_log_is_whole(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id, log_of(handle.external_id, b"step 1\nno end of line", exit_code=0))
    ray.end(handle.external_id)
    assert cluster.log(handle) == "step 1\nno end of line"


def without_log(cluster: Cluster, ray: FakeRay) -> Handle:
    """A training that ended, and whose log Ray answers an error for."""
    handle = cluster.submit()
    ray.run(handle.external_id)
    ray.logs.clear()
    ray.end(handle.external_id)
    return handle


def test_a_log_that_died_with_its_node_is_said_to_be_gone(cluster: Cluster, ray: FakeRay) -> None:
    handle = without_log(cluster, ray)
    ray.nodes[0]["state"] = "DEAD"
    assert cluster.fetch(handle).status == JobStatus.COMPLETED
    assert cluster.fetch(handle, with_log=True).data_removed


def test_the_log_of_a_job_that_ray_forgot_is_on_the_shared_folder_or_gone(
    cluster: Cluster, shared: Cluster, ray: FakeRay, tmp_path: Path
) -> None:
    kept, gone = shared.submit(), cluster.submit()
    (tmp_path / kept.external_id / "train.log").write_text("step 1\nstep 2")
    ray.jobs.clear()
    assert isinstance(shared.answer(kept, with_log=True), ProviderError)  # it is active: a poll decides
    snapshot = shared.fetch(replace(kept, has_ended=True, log_size=7), with_log=True)
    assert (snapshot.log, snapshot.data_removed) == ("step 2", False)
    assert cluster.fetch(replace(gone, has_ended=True), with_log=True).data_removed


def test_a_log_that_its_living_node_does_not_give_is_waited_for(cluster: Cluster, ray: FakeRay) -> None:
    handle = without_log(cluster, ray)
    assert isinstance(cluster.answer(handle), ProviderError)
    ray.jobs[handle.external_id]["end_time"] -= 3_700_000
    assert cluster.fetch(handle).status == JobStatus.COMPLETED


def test_a_mark_that_the_trainer_forged_stays_a_line_of_its_log(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    forged = b'\x1e{"at": "x"}\n'
    ray.run(handle.external_id, log_of(handle.external_id, b"step 1\n", forged))
    assert cluster.log(handle) == "step 1\n" + forged.decode()


def test_a_log_on_the_shared_folder_is_read_from_where_we_are(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = shared.submit()
    ray.run(handle.external_id)
    log = tmp_path / handle.external_id / "train.log"
    log.write_bytes(b"step 1\nstep 2\n")
    snapshot = shared.fetch(replace(handle, log_size=7), with_log=True)
    assert (snapshot.log, snapshot.log_start) == ("step 2\n", 7)
