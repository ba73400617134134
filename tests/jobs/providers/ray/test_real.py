"""The provider against a real Ray: two nodes on this machine with pretended GPUs, and what happens when they die."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from examples.clusters.ray import RayCluster, processes_of
from jobs.identifiers import new_marker
from jobs.providers.base import Handle, ProviderError
from jobs.providers.datasets import DatasetTransfer, TransferProgress
from jobs.providers.ray import fetch, rows, submission
from jobs.statuses import TERMINAL, JobStatus
from tests.dataset_archives import make_zip
from tests.jobs.providers.local.trainings import ENDLESS, SAVING
from tests.jobs.providers.ray.clusters import Cluster
from tests.ray_cluster import ray_cluster
from tests.servers import RedisServer
from tests.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

PROFILES = {
    "cpu": HardwareProfile("cpu"),
    "gpu-x2": HardwareProfile("gpu-x2", gpus=2),
    "h100": HardwareProfile("h100", resources={"h100": 1.0}),
    "gpu-x8": HardwareProfile("gpu-x8", gpus=8),
}


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    ray = ray_cluster()
    try:
        ray.start_head()
        yield ray
    finally:
        ray.stop()


def on(ray: RayCluster, code: str = "print('step 1')", **options: Any) -> Cluster:
    return Cluster(ray.address, code, token=ray.token, profiles=PROFILES, **options)


def running(cluster: Cluster, handle: Handle, text: str = "up") -> None:
    wait_until(lambda: text in cluster.log(handle), 30)


def test_a_training_runs_on_a_bare_cluster(ray: RayCluster) -> None:
    cluster = on(ray, "import json; print(json.load(open('config.json'))['hf_token'][::-1])")
    handle = cluster.submit(config={"hf_token": "hf_secretsecret"})
    snapshot = cluster.ended(handle)
    assert (snapshot.status, snapshot.error_message) == (JobStatus.COMPLETED, None)
    assert cluster.log(handle) == "tercesterces_fh\n"
    assert snapshot.started_at
    assert snapshot.completed_at
    assert snapshot.billed_seconds == (snapshot.completed_at - snapshot.started_at).total_seconds()
    assert "hf_secretsecret" not in ray.get("/api/jobs/").text


def test_a_training_runs_with_a_shared_folder(ray: RayCluster, tmp_path: Path) -> None:
    cluster = on(ray, shared_folder=tmp_path, command=("{python}", "-c", SAVES, "{output_dir}"))
    handle = cluster.submit()
    snapshot = cluster.ended(handle)
    assert (snapshot.status, snapshot.output_url) == (
        JobStatus.COMPLETED,
        (tmp_path / handle.external_id / "output").as_uri(),
    )
    assert cluster.log(handle) == "saved\n"
    assert (tmp_path / handle.external_id / "output" / "model").read_text() == "weights"


SAVES = "import sys; open(f'{sys.argv[1]}/model', 'w').write('weights'); print('saved')"


def test_a_training_sees_the_gpus_that_it_asked_for(ray: RayCluster) -> None:
    cluster = on(ray, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    handle = cluster.submit("gpu-x2")
    assert cluster.ended(handle).status == JobStatus.COMPLETED
    assert sorted(cluster.log(handle).strip().split(",")) == ["0", "1"]


def test_a_log_that_is_no_utf8_is_kept_byte_by_byte(ray: RayCluster) -> None:
    cluster = on(ray, r"import os; os.write(1, b'50%\r100%\n\xff\xe4 caf\xc3\xa9\n')")
    handle = cluster.submit()
    assert cluster.ended(handle).status == JobStatus.COMPLETED
    assert cluster.log(handle) == "50%\r100%\n?? café\n"


def test_a_large_log_is_gathered_look_by_look(ray: RayCluster) -> None:
    code = (
        "import time\nfor step in range(60):\n"
        "    print((f'step {step} ' + 'x' * 60 + '\\n') * 300, end='', flush=True); time.sleep(0.05)"
    )
    cluster = on(ray, code)
    handle = cluster.submit()
    text = b""

    def look() -> bool:
        nonlocal text
        snapshot = cluster.fetch(replace(handle, log_size=len(text)), with_log=True)
        text += (snapshot.log or "").encode()[len(text) - snapshot.log_start :]
        return snapshot.status in TERMINAL

    wait_until(look, 60)
    assert text.decode() == "".join((f"step {step} " + "x" * 60 + "\n") * 300 for step in range(60))


def test_a_dataset_goes_along(ray: RayCluster, tmp_path: Path) -> None:
    archive = tmp_path / "cats.zip"
    size = archive.write_bytes(make_zip({"1.png": b"picture"}))
    cluster = on(ray, "import json; print(open(json.load(open('dataloader.json'))[0]['dir'] + '/1.png').read())")
    transfer = DatasetTransfer("0" * 26, archive, "cats.zip", "zip", size, 7, "sum")
    copy = asyncio.run(cluster.provider.stage(transfer, TransferProgress(size)))
    handle = cluster.submit(dataset=copy.address, dataloader_config=[{"dir": "{dataset}"}])
    assert cluster.ended(handle).status == JobStatus.COMPLETED
    assert cluster.log(handle) == "picture\n"


def test_eight_submissions_of_one_marker_start_one_training(ray: RayCluster, tmp_path: Path) -> None:
    cluster = on(ray, f"open({str(tmp_path / 'runs')!r}, 'a').write('x')")
    marker, gate = new_marker(), threading.Barrier(8)

    def submit(_: int) -> Handle:
        gate.wait(10)
        return cluster.submit(marker=marker)

    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(submit, range(8)))
    assert {handle.external_id for handle in handles} == {marker}
    assert cluster.ended(handles[0]).status == JobStatus.COMPLETED
    assert (tmp_path / "runs").read_text() == "x"


def test_a_trainer_has_the_time_to_save(ray: RayCluster) -> None:
    cluster = on(ray, SAVING)
    handle = cluster.submit()
    running(cluster, handle)
    cluster.cancel(handle)
    snapshot = cluster.ended(handle)
    assert snapshot.status == JobStatus.CANCELLED
    assert cluster.log(handle) == "up\nsaved\n"


def test_a_trainer_that_does_not_exist_is_a_sentence(ray: RayCluster) -> None:
    cluster = on(ray, command=("no-such-trainer",))
    snapshot = cluster.ended(cluster.submit())
    assert (snapshot.status, snapshot.error_message) == (
        JobStatus.FAILED,
        "The trainer's program 'no-such-trainer' could not be started: it does not exist.",
    )


def test_a_node_without_our_python_is_a_sentence(ray: RayCluster) -> None:
    cluster = on(ray, python="python9")
    snapshot = cluster.ended(cluster.submit())
    assert (snapshot.status, snapshot.error_message) == (
        JobStatus.FAILED,
        "The node has no “python9”. Set this provider's `python` to a Python of its nodes.",
    )


def test_a_folder_that_the_node_does_not_see_is_a_sentence(
    ray: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What another machine would find: nothing.
    monkeypatch.setattr(submission, "keep", lambda folder, *_: shutil.rmtree(folder.path))
    cluster = on(ray, shared_folder=tmp_path)
    snapshot = cluster.ended(cluster.submit())
    assert snapshot.status == JobStatus.FAILED
    assert (snapshot.error_message or "").startswith("The shared folder is missing on node ")


def test_a_wrong_token_is_a_sentence(ray: RayCluster) -> None:
    assert "refused the token" in str(Cluster(ray.address, token="5" * 64).refusal())


def test_a_look_shows_the_nodes(ray: RayCluster) -> None:
    view = asyncio.run(on(ray).provider.look())
    assert [node.gpus for node in view.nodes] == [2]
    assert view.unrunnable == {
        "h100": "It asks for 1 h100 on one node, but no node of this cluster has more than 0.",
        "gpu-x8": "It asks for 8 GPUs on one node, but no node of this cluster has more than 2.",
    }
    assert view.warnings == []


def test_a_job_is_found_by_its_marker_and_listed(ray: RayCluster) -> None:
    cluster = on(ray)
    handle = cluster.submit()
    cluster.ended(handle)
    found = asyncio.run(cluster.provider.find_by_marker([handle.external_id]))
    assert found[handle.external_id].status == JobStatus.COMPLETED
    listed = asyncio.run(cluster.provider.recent(100))
    assert handle.external_id in [one.marker for one in listed]


def test_a_waiting_job_says_for_what_and_is_cancelled_when_there_is_room(ray: RayCluster, tmp_path: Path) -> None:
    cluster = on(ray, f"open({str(tmp_path / 'ran')!r}, 'w')", shared_folder=tmp_path)
    handle = cluster.submit("h100")
    waiting = cluster.fetch(handle)
    assert (waiting.status, waiting.waiting_reason) == (JobStatus.QUEUED, "The cluster waits for 1 CPU, 1 h100.")
    cluster.cancel(handle)
    assert cluster.fetch(handle).status == JobStatus.QUEUED
    folder = ray.start_node(h100=1)
    try:
        snapshot = cluster.ended(handle, 60)
    finally:
        ray.kill(folder)
    assert (snapshot.status, snapshot.billed_seconds) == (JobStatus.CANCELLED, 0.0)
    assert not (tmp_path / "ran").exists()


def test_a_training_fails_with_its_node_and_leaves_nothing_running(ray: RayCluster, tmp_path: Path) -> None:
    folder = ray.start_node(h100=1)
    cluster = on(ray, ENDLESS, shared_folder=tmp_path, grace_seconds=1)
    handle = cluster.submit("h100")
    running(cluster, handle)
    ray.kill(folder)
    snapshot = cluster.ended(handle, 120)
    assert snapshot.status == JobStatus.FAILED
    assert "The cluster lost the training" in (snapshot.error_message or "")
    assert not processes_of(folder)
    assert cluster.log(handle) == "up\n"


# Heads that die have a cluster of their own.


def killed_head(ray: RayCluster, cluster: Cluster) -> tuple[Handle, Handle]:
    """Let one training end and another run, and kill the head below them; the trainer ends by itself."""
    ended = cluster.submit()
    cluster.ended(ended)
    endless = Cluster(ray.address, ENDLESS, token=ray.token, profiles=PROFILES, grace_seconds=1)
    running_one = endless.submit()
    running(endless, running_one)
    ray.kill()
    return ended, running_one


def test_a_head_that_forgot_its_jobs_lost_them_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = ray_cluster(with_token=False)
    try:
        ray.start_head()
        cluster = on(ray)
        assert "Start Ray with RAY_AUTH_MODE=token" in asyncio.run(cluster.provider.validate())
        _, lost = killed_head(ray, cluster)
        with pytest.raises(ProviderError, match="could not be reached"):
            asyncio.run(cluster.provider.fetch([lost]))
        ray.start_head()
        first = cluster.fetch(lost)
        assert first.status is None
        monkeypatch.setattr(fetch, "LOST_AFTER", timedelta())
        monkeypatch.setattr(rows, "RUNNER_SECONDS", -60)
        second = cluster.fetch(replace(lost, metadata={**lost.metadata, **first.metadata}))
        assert (second.status, second.error_message) == (JobStatus.FAILED, fetch.MADE_ANEW)
    finally:
        ray.stop()


def test_a_head_with_a_store_remembers_its_jobs(redis: RedisServer) -> None:
    ray = ray_cluster(store=f"127.0.0.1:{redis.port}")
    try:
        ray.start_head()
        cluster = on(ray)
        ended, lost = killed_head(ray, cluster)
        ray.start_head()
        assert cluster.fetch(ended).status == JobStatus.COMPLETED
        # Ray would call it RUNNING for ever, if it were not woken.
        snapshot = cluster.ended(lost, 120)
        assert snapshot.status == JobStatus.FAILED
        assert "lost" in (snapshot.error_message or "")
    finally:
        ray.stop()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    redis = RedisServer.start()
    yield redis
    redis.stop()
