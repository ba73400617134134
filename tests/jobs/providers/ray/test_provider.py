"""The provider for Ray against a pretended dashboard: what the real one can't be made to do on request."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.base import Handle, ProviderError, Snapshot
from jobs.providers.datasets import DatasetTransfer, TransferProgress
from jobs.providers.ray import client, package
from jobs.providers.runner.marks import mark
from jobs.statuses import JobStatus
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import CUT, TRACEBACK, Answer, FakeRay, as_json, as_page, as_text, node
from tests.servers import free_port

STARTED = "2026-11-29T02:00:00+00:00"
ENDED = "2026-11-29T02:01:30+00:00"
PREAMBLE = b"2026-11-29 02:00:00,000\tINFO job_manager.py:581 -- Runtime env is setting up.\n"


def log_of(job: str, *lines: bytes, exit_code: int | None = None, **end: Any) -> bytes:
    """A log as Ray keeps it: its own lines, the runner's marks, the trainer's bytes."""
    entrypoint = f"Running entrypoint for job {job}: exec python3 -I -S runner.pyz run.json\n".encode()
    trainers = b"".join(lines)
    record = {"exit_code": exit_code, "stopped": False, "error": None, "ended_at": ENDED, "started_at": STARTED, **end}
    whole = PREAMBLE + mark(0, "start", {"started_at": STARTED}) + trainers[:5] + entrypoint + trainers[5:]
    return whole + (mark(len(trainers), "end", record) if exit_code is not None or end else b"")


def on_submission(answer: Answer) -> Any:
    return lambda method, path: answer if (method, path) == ("POST", "/api/jobs/") else None


# Submitting


def test_a_training_is_sent_as_files_and_a_job_of_its_marker(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit("gpu-x2")
    (body,) = ray.bodies
    assert body["submission_id"] == handle.external_id
    assert body["entrypoint"] == "exec python3 -I -S runner.pyz run.json"
    assert (body["entrypoint_num_gpus"], body["entrypoint_num_cpus"]) == (2, 1)
    assert body["metadata"] == {"marker": handle.external_id, "job": handle.job_id, "profile": "gpu-x2"}
    assert body["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "15"}
    assert body["runtime_env"]["working_dir"].removeprefix("gcs://") in ray.packages


def files_of(ray: FakeRay) -> dict[str, bytes]:
    (data,) = ray.packages.values()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert {entry.external_attr >> 16 & 0o777 for entry in file.infolist()} == {0o600}
        return {name: file.read(name) for name in file.namelist()}


def test_secrets_are_in_the_files_alone(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit(config={"hf_token": "hf_secretsecret"})
    files = files_of(ray)
    assert [name for name, data in files.items() if b"hf_secretsecret" in data] == ["config.json"]
    assert b"***" in files["config.json.masked"]
    assert files["job_id"].decode() == handle.job_id
    assert "hf_secretsecret" not in json.dumps(ray.bodies)


def test_a_profile_that_is_none_is_refused(cluster: Cluster, ray: FakeRay) -> None:
    refusal = cluster.refusal(profile="gpux2")
    assert (str(refusal), refusal.permanent) == ("Ray lab has no hardware profile 'gpux2'.", True)
    assert ray.requests == []


@pytest.mark.parametrize("lost", [CUT, as_text(TRACEBACK.format(reason="TimeoutError"), 500), as_page(502)], ids=str)
def test_a_lost_answer_is_settled_by_asking_for_the_job(cluster: Cluster, ray: FakeRay, lost: Answer) -> None:
    ray.after = on_submission(lost)
    handle = cluster.submit()
    assert list(ray.jobs) == [handle.external_id]


def test_a_job_that_is_there_already_is_ours(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    again = cluster.submit(marker=handle.external_id)
    assert (again.external_id, len(ray.bodies)) == (handle.external_id, 1)


def test_an_error_after_which_there_is_no_job_created_nothing(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = on_submission(as_text(TRACEBACK.format(reason="RuntimeError: the store is full"), 500))
    refusal = cluster.refusal()
    assert str(refusal) == "Ray lab answered 500: RuntimeError: the store is full"
    assert refusal.nothing_created


def test_a_broken_connection_leaves_open_whether_there_will_be_a_job(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = on_submission(CUT)
    assert not cluster.refusal().nothing_created  # the marker may be sent again, and never another one


def test_files_that_could_not_be_sent_created_nothing(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: CUT if method == "PUT" else None
    assert cluster.refusal().nothing_created
    assert ray.jobs == {}


# What is wrong with the address, the token, the network


def test_a_wrong_token_says_what_to_do(ray: FakeRay) -> None:
    refusal = Cluster(ray.address, token="6" * 64).refusal()
    assert str(refusal) == ("Ray lab refuses the token: it is wrong or has expired. Set the cluster's present one.")
    assert refusal.nothing_created
    assert not refusal.permanent  # the next attempt has the file's new one


def test_a_missing_token_says_what_to_do(ray: FakeRay) -> None:
    refusal = Cluster(ray.address, token="").refusal()
    assert str(refusal) == "Ray lab wants a token: set `token` or `token_file` of this provider."


def test_a_proxys_page_is_no_answer_of_ray(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: as_page(200)
    refusal = cluster.refusal()
    assert str(refusal) == (
        "Ray lab answered 200 with a web page: its address leads to a proxy or another service, not to a Ray dashboard."
    )


def test_a_proxy_that_refuses_us_is_told_from_a_token(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: as_page(403)
    assert "behind a proxy that refuses us (403)" in str(cluster.refusal())


def test_a_redirection_is_not_followed(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: Answer(302, headers={"location": "https://login.example/"})
    assert "answered 302 with a redirection" in str(cluster.refusal())


def test_an_address_where_nobody_listens_says_so() -> None:
    refusal = Cluster(f"http://127.0.0.1:{free_port()}").refusal()
    assert str(refusal).startswith("Ray lab could not be reached: ")
    assert refusal.nothing_created


def test_a_head_that_hangs_is_not_waited_for(cluster: Cluster, ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", replace_read(0.2))
    ray.instead = lambda method, path: pause(1.0)
    refusal = cluster.refusal()
    assert str(refusal) == "Ray lab did not answer in time; its head may be hanging."


def replace_read(seconds: float) -> Any:
    import httpx

    return httpx.Timeout(connect=5.0, read=seconds, write=5.0, pool=None)


def pause(seconds: float) -> None:
    import threading

    threading.Event().wait(seconds)


def test_an_error_shows_its_last_line_and_no_token(cluster: Cluster, ray: FakeRay) -> None:
    reason = f"ValueError: {ray.token} {'x' * 1000}"
    ray.instead = on_submission(as_text(TRACEBACK.format(reason=reason), 400))
    refusal = cluster.refusal()
    assert str(refusal).startswith("Ray lab answered 400: ValueError: *** xxx")
    assert len(str(refusal)) < 400
    assert refusal.permanent


def test_a_dead_cluster_fails_all_its_jobs_at_once(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.instead = lambda method, path: CUT
    with pytest.raises(ProviderError, match="broke the connection"):
        asyncio.run(cluster.provider.fetch([handle]))


# Following


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
        "The cluster was asked to cancel, which it does as soon as it has room for the job."
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
            "The node has no 'python3': set `python` of this provider to a Python of its nodes.",
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
        "The cluster lost the training: its node has died, or Ray itself was restarted (JOB_SUPERVISOR_ACTOR_DIED). "
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


# Jobs that Ray does not know any more


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
        "The Ray cluster does not know the training any more: somebody deleted it there, or its head was restarted.",
    )


def a_minute_later(handle: Handle) -> Handle:
    earlier = datetime.fromisoformat(handle.metadata["missing_since"]) - timedelta(seconds=61)
    return replace(handle, metadata={**handle.metadata, "missing_since": earlier.isoformat()})


def missing(cluster: Cluster, ray: FakeRay, **fields: Any) -> Handle:
    handle = replace(cluster.submit(), **fields)
    ray.jobs.clear()
    return a_minute_later(replace(handle, metadata={**handle.metadata, **cluster.fetch(handle).metadata}))


def test_a_cluster_that_was_made_anew_is_said(cluster: Cluster, ray: FakeRay) -> None:
    handle = missing(cluster, ray)
    ray.session = "session_2"
    assert cluster.fetch(handle).error_message == (
        "The Ray cluster was made anew, without its earlier jobs: the training is lost."
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


def record_end(folder: Path, **end: Any) -> None:
    (folder / "process.json").write_text(json.dumps({"started_at": STARTED}))
    whole = {"exit_code": None, "stopped": False, "error": None, "ended_at": ENDED, **end}
    (folder / "exit.json").write_text(json.dumps(whole))


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
        "The training's node has died, or Ray was restarted on it: the training is lost.",
    )


def test_many_running_jobs_take_two_requests(cluster: Cluster, ray: FakeRay) -> None:
    handles = [cluster.submit() for _ in range(20)]
    for handle in handles:
        ray.run(handle.external_id)
    ray.requests.clear()
    assert len(asyncio.run(cluster.provider.fetch(handles))) == 20
    assert [path for _, path in ray.requests] == ["/api/jobs/", "/api/v0/nodes?limit=10000"]


# Logs


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


# Ending, files, datasets


def test_a_running_job_is_cancelled_when_ray_says_so(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.run(handle.external_id)
    cluster.cancel(handle)
    assert cluster.fetch(handle).status == JobStatus.CANCELLED


def test_a_cancellation_of_a_job_that_is_gone_is_no_error(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.jobs.clear()
    cluster.cancel(handle)


def test_a_cancellation_keeps_a_waiting_training_from_beginning(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = shared.submit()
    shared.cancel(handle)
    assert (tmp_path / handle.external_id / "cancel.json").exists()


def test_files_of_an_active_training_are_not_deleted(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    with pytest.raises(ProviderError, match="has not ended yet"):
        asyncio.run(cluster.provider.delete_files(handle))
    assert handle.external_id in ray.jobs


def test_deleting_leaves_the_output(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    handle = shared.submit()
    folder = tmp_path / handle.external_id
    (folder / "output" / "model").write_text("weights")
    (folder / "train.log").write_text("step 1")
    ray.end(handle.external_id)
    for _ in range(2):
        asyncio.run(shared.provider.delete_files(handle))
        assert [path.name for path in folder.rglob("*")] == ["output", "model"]
    assert ray.jobs == {}


def dataset(path: Path, size: int | None = None) -> DatasetTransfer:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("cats/1.png", b"picture")
    size = size or path.stat().st_size
    return DatasetTransfer("0" * 26, path, "cats.zip", "zip", size, 7, "sum")


def test_a_dataset_goes_along_in_the_package(cluster: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    copy = asyncio.run(cluster.provider.stage(dataset(tmp_path / "cats.zip"), TransferProgress(1)))
    cluster.submit(dataset=copy.address, dataloader_config=[{"instance_data_dir": "{dataset}/cats"}])
    files = files_of(ray)
    assert files["dataset/cats/1.png"] == b"picture"
    assert json.loads(files["dataloader.json"]) == [{"instance_data_dir": "{folder}/dataset/cats"}]
    assert json.loads(files["run.json"])["placed"] == ["dataloader.json"]


def test_a_dataset_that_does_not_fit_is_refused_with_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    transfer = dataset(tmp_path / "cats.zip", size=client.MAX_PACKAGE_BYTES + 1)
    with pytest.raises(ProviderError) as raised:
        asyncio.run(cluster.provider.stage(transfer, TransferProgress(1)))
    assert (str(raised.value), raised.value.permanent) == (package.TOO_LARGE, True)


def test_a_dataset_is_unpacked_on_the_shared_folder(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    copy = asyncio.run(shared.provider.stage(dataset(tmp_path / "cats.zip"), TransferProgress(1)))
    assert Path(copy.address, "cats/1.png").read_bytes() == b"picture"
    shared.submit(dataset=copy.address, dataloader_config=[{"instance_data_dir": "{dataset}/cats"}])
    assert json.loads(files_of(ray)["dataloader.json"]) == [{"instance_data_dir": f"{copy.address}/cats"}]


def test_a_shared_folder_that_is_not_there_is_said_before_anything_is_sent(ray: FakeRay, tmp_path: Path) -> None:
    refusal = Cluster(ray.address, shared_folder=tmp_path / "nowhere").refusal()
    assert str(refusal) == f"The shared folder {tmp_path / 'nowhere'} does not exist on this machine."
    assert ray.requests == []


# The cluster


def test_a_look_shows_nodes_and_what_they_cant_run(cluster: Cluster, ray: FakeRay) -> None:
    ray.used_gpus = 1.0
    view = asyncio.run(cluster.provider.look())
    (one,) = view.nodes
    assert (view.version, one.gpus, one.free_gpus, one.cpus, one.memory_mb) == ("2.60.0", 2, 1, 8, 64_000)
    assert view.unrunnable == {"gpu-x8": "No node has the 8 GPUs of gpu-x8."}
    assert view.warnings == []


def test_a_cluster_that_adds_nodes_refuses_no_profile(cluster: Cluster, ray: FakeRay) -> None:
    ray.grows = True
    view = asyncio.run(cluster.provider.look())
    assert view.unrunnable == {}
    assert view.warnings == ["It may add nodes by itself, so it is not checked which hardware profiles it can run."]


def test_a_dead_node_counts_for_nothing(cluster: Cluster, ray: FakeRay) -> None:
    ray.nodes.append({**node("9", GPU=8.0, CPU=8.0), "state": "DEAD"})
    view = asyncio.run(cluster.provider.look())
    assert (len(view.nodes), list(view.unrunnable)) == (1, ["gpu-x8"])


def test_an_open_cluster_is_a_warning(cluster: Cluster, ray: FakeRay) -> None:
    ray.token = ""
    sentence = asyncio.run(cluster.provider.validate())
    assert sentence == (
        "Ray 2.60.0: 1 node, 2 GPUs. No node has the 8 GPUs of gpu-x8. "
        "It takes jobs from anybody who reaches its address: start Ray with RAY_AUTH_MODE=token."
    )


def test_another_service_is_no_ray(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: as_json({"status": "ok"})
    with pytest.raises(ProviderError, match="is no Ray dashboard"):
        asyncio.run(cluster.provider.validate())


def test_jobs_made_elsewhere_are_found_and_sessions_of_people_are_not(cluster: Cluster, ray: FakeRay) -> None:
    ours = cluster.submit()
    ray.jobs["driver"] = {"type": "DRIVER", "submission_id": None, "job_id": "02000000", "status": "RUNNING"}
    ray.jobs["raysubmit_1"] = {**ray.jobs[ours.external_id], "submission_id": "raysubmit_1", "metadata": None}
    found = asyncio.run(cluster.provider.recent(10))
    assert {one.snapshot.external_id: one.marker for one in found} == {
        ours.external_id: ours.external_id,
        "raysubmit_1": None,
    }


def test_markers_are_looked_up_in_one_list(cluster: Cluster, ray: FakeRay) -> None:
    ours = cluster.submit()
    ray.requests.clear()
    found = asyncio.run(cluster.provider.find_by_marker([ours.external_id, "ct-unknown"]))
    assert {marker: snapshot.status for marker, snapshot in found.items()} == {ours.external_id: JobStatus.QUEUED}
    assert ray.requests == [("GET", "/api/jobs/")]


def test_one_jobs_broken_answer_fails_no_other(cluster: Cluster, ray: FakeRay) -> None:
    good, broken = cluster.submit(), cluster.submit()
    ray.run(broken.external_id)
    ray.logs.clear()
    ray.end(broken.external_id)
    answers = asyncio.run(cluster.provider.fetch([good, broken]))
    assert isinstance(answers[good.job_id], Snapshot)
    assert isinstance(answers[broken.job_id], ProviderError)
