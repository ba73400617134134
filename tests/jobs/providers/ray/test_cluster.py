"""Ending trainings, their files and datasets, and the look of a pretended Ray cluster."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from jobs.providers.base import ProviderError, Snapshot
from jobs.providers.datasets import DatasetTransfer, TransferProgress
from jobs.providers.ray import package
from jobs.statuses import JobStatus
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import FakeRay, as_json, node
from tests.jobs.providers.ray.records import (
    files_of,
)


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
    transfer = dataset(tmp_path / "cats.zip", size=package.MAX_DATASET_BYTES + 1)
    with pytest.raises(ProviderError) as raised:
        asyncio.run(cluster.provider.stage(transfer, TransferProgress(1)))
    assert (str(raised.value), raised.value.permanent) == (package.TOO_LARGE, True)


def test_a_submitter_reads_that_the_model_stays_on_the_node(cluster: Cluster, shared: Cluster) -> None:
    remark = "Ray lab shares no folder with this site, so results stay on the cluster's nodes."
    assert cluster.provider.remarks({"max_train_steps": 10}) == (remark,)
    assert cluster.provider.remarks({"--hub_model_id": "acme/cats"}) == ()
    assert shared.provider.remarks({"max_train_steps": 10}) == ()


def test_a_dataset_is_unpacked_on_the_shared_folder(shared: Cluster, ray: FakeRay, tmp_path: Path) -> None:
    copy = asyncio.run(shared.provider.stage(dataset(tmp_path / "cats.zip"), TransferProgress(1)))
    assert Path(copy.address, "cats/1.png").read_bytes() == b"picture"
    shared.submit(dataset=copy.address, dataloader_config=[{"instance_data_dir": "{dataset}/cats"}])
    assert json.loads(files_of(ray)["dataloader.json"]) == [{"instance_data_dir": f"{copy.address}/cats"}]


def test_a_shared_folder_that_is_not_there_is_said_before_anything_is_sent(ray: FakeRay, tmp_path: Path) -> None:
    refusal = Cluster(ray.address, shared_folder=tmp_path / "nowhere").refusal()
    assert str(refusal) == "The shared folder is missing on this machine. Mount it."
    assert ray.requests == []


def test_a_look_shows_nodes_and_what_they_cant_run(cluster: Cluster, ray: FakeRay) -> None:
    ray.used_gpus = 1.0
    view = asyncio.run(cluster.provider.look())
    (one,) = view.nodes
    assert (view.version, one.gpus, one.free_gpus, one.cpus, one.memory_mb) == ("2.60.0", 2, 1, 8, 64_000)
    assert view.unrunnable == {"gpu-x8": "It asks for 8 GPUs on one node, but no node of this cluster has more than 2."}
    assert view.warnings == []


def test_a_cluster_that_adds_nodes_refuses_no_profile(cluster: Cluster, ray: FakeRay) -> None:
    ray.grows = True
    view = asyncio.run(cluster.provider.look())
    assert view.unrunnable == {}
    assert view.warnings == ["It can add nodes by itself, so its hardware profiles are not checked."]


def test_a_dead_node_counts_for_nothing(cluster: Cluster, ray: FakeRay) -> None:
    ray.nodes.append({**node("9", GPU=8.0, CPU=8.0), "state": "DEAD"})
    view = asyncio.run(cluster.provider.look())
    assert (len(view.nodes), list(view.unrunnable)) == (1, ["gpu-x8"])


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        ({"nodes": 2}, "It asks for 2 nodes, but a Ray job runs on one."),
        ({"cpus": 9}, "It asks for 9 CPUs on one node, but no node of this cluster has more than 8."),
        (
            {"memory_mb": 70_000},
            "It asks for 70,000 MB of memory on one node, but no node of this cluster has more than 64000.",
        ),
        ({"resources": {"h100": 1.0}}, "It asks for 1 h100 on one node, but no node of this cluster has more than 0."),
        (
            {"gpus": 1, "resources": {"a100": 1.0}},
            "It asks for 1 GPU, 1 CPU, 1 a100 on one node, but no node of this cluster has all of it.",
        ),
        ({"gpus": 2, "cpus": 8}, None),
    ],
)
def test_a_profile_that_no_node_can_run_says_why(ray: FakeRay, profile: dict[str, Any], sentence: str | None) -> None:
    ray.nodes.append(node("9", CPU=1.0, a100=1.0))
    cluster = Cluster(ray.address, profiles={"asked": HardwareProfile("asked", **profile)})
    assert asyncio.run(cluster.provider.look()).unrunnable == ({"asked": sentence} if sentence else {})


def test_an_open_cluster_is_a_warning(cluster: Cluster, ray: FakeRay) -> None:
    ray.token = ""
    sentence = asyncio.run(cluster.provider.validate())
    assert sentence == (
        "Ray 2.60.0: 1 node, 2 GPUs. gpu-x8: It asks for 8 GPUs on one node, but no node of this cluster has more "
        "than 2. Anybody who can reach its address can run jobs on it. Start Ray with RAY_AUTH_MODE=token."
    )


def test_another_service_is_no_ray(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: as_json({"status": "ok"})
    with pytest.raises(ProviderError, match="is not a Ray dashboard"):
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
