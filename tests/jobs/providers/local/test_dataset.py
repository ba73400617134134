"""Datasets of trainings on this machine: unpacked into the job's folder, and told to the operator's command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, StoppedError, TransferProgress
from jobs.providers.local import command, dataset
from tests.dataset_archives import PICTURES, make_tar, make_zip
from tests.jobs.providers.local.trainings import Trainings, make_spec

#: Prints what is in the folder that its first argument names, and its dataloader config.
SHOW = (
    "import os, sys; print(sorted(os.listdir(sys.argv[1] + '/pictures')) if sys.argv[1] else 'none');"
    "print(open(sys.argv[2]).read())"
)


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def make_transfer(folder: Path, job_id: str, data: bytes | None = None) -> DatasetTransfer:
    path = folder / "archive"
    path.write_bytes(make_zip() if data is None else data)
    return DatasetTransfer(job_id, path, "toys.zip", "zip", path.stat().st_size, 19, "")


def stage(trainings: Trainings, transfer: DatasetTransfer, progress: TransferProgress | None = None) -> str:
    return asyncio.run(trainings.provider().stage(transfer, progress or TransferProgress(1))).address


def test_the_command_and_the_dataloader_learn_where_it_is(trainings: Trainings, tmp_path: Path) -> None:
    dataloader: list[Any] = [{"id": "toys", "instance_data_dir": "{dataset}/pictures", "crop": True, "sizes": [1, 2]}]
    spec = make_spec(dataloader_config=dataloader)
    progress = TransferProgress(1)
    address = stage(trainings, make_transfer(tmp_path, spec.job_id), progress)
    assert Path(address) == trainings.jobs / spec.job_id / "dataset"
    assert {str(path.relative_to(address)): path.read_bytes() for path in Path(address).rglob("*.txt")} == PICTURES
    assert (progress.done, progress.total) == (19, 19)
    handle = trainings.start(
        command=["{python}", "-S", "-c", SHOW, "{dataset}", "{dataloader}"],
        spec=make_spec(job_id=spec.job_id, dataloader_config=dataloader, dataset=address),
    )
    trainings.ended(handle)
    first, _, rest = trainings.log(handle).partition("\n")
    assert first == "['one.txt', 'two.txt']"
    (backend,) = json.loads(rest)
    assert backend == {**dataloader[0], "instance_data_dir": f"{address}/pictures"}


def test_a_job_without_one_has_an_empty_argument(tmp_path: Path) -> None:
    assert command.substitute_placeholders(["{python}", "--data={dataset}"], tmp_path)[1:] == ["--data="]


def test_it_is_unpacked_once_and_whole(trainings: Trainings, tmp_path: Path) -> None:
    spec = make_spec()
    folder = trainings.jobs / spec.job_id
    (folder / "dataset.killed").mkdir(parents=True)
    (folder / "dataset.killed" / "half").touch()
    transfer = make_transfer(tmp_path, spec.job_id)
    first = stage(trainings, transfer)
    (Path(first) / "mark").touch()
    assert stage(trainings, transfer) == first
    assert (Path(first) / "mark").exists()
    assert [path.name for path in folder.iterdir()] == ["dataset"]


@pytest.mark.parametrize("data", [b"no archive", make_tar(files={"../a": b"x"})], ids=["garbage", "an escape"])
def test_what_cannot_be_unpacked_leaves_nothing(trainings: Trainings, tmp_path: Path, data: bytes) -> None:
    spec = make_spec()
    with pytest.raises(ProviderError, match="can't be unpacked") as caught:
        stage(trainings, make_transfer(tmp_path, spec.job_id, data))
    assert (caught.value.permanent, caught.value.nothing_created) == (True, True)
    assert list((trainings.jobs / spec.job_id).iterdir()) == []
    assert not list(tmp_path.rglob("a"))


def test_unpacking_can_be_stopped(trainings: Trainings, tmp_path: Path) -> None:
    spec, progress = make_spec(), TransferProgress(1)
    progress.stop()
    with pytest.raises(StoppedError):
        stage(trainings, make_transfer(tmp_path, spec.job_id), progress)
    assert list((trainings.jobs / spec.job_id).iterdir()) == []


def test_a_disk_that_refuses_is_no_fault_of_the_archive(trainings: Trainings, tmp_path: Path) -> None:
    spec = make_spec()
    trainings.jobs.write_text("in the way of the folder")
    with pytest.raises(ProviderError, match="data folder can't be used") as caught:
        stage(trainings, make_transfer(tmp_path, spec.job_id))
    assert (caught.value.permanent, caught.value.nothing_created) == (False, True)


def test_what_was_unpacked_is_removed_with_what_a_killed_attempt_left(tmp_path: Path) -> None:
    for name in ("dataset", "dataset.killed", "output"):
        (tmp_path / "job" / name).mkdir(parents=True)
    assert dataset.remove(tmp_path, "job")
    assert not dataset.remove(tmp_path, "job")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["output"]


@pytest.mark.parametrize("linked", ["job", "job/dataset"])
def test_no_dataset_is_removed_through_a_link(tmp_path: Path, linked: str) -> None:
    precious = tmp_path / "elsewhere" / "dataset" / "precious"
    precious.mkdir(parents=True)
    link = tmp_path / "jobs" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    assert not dataset.remove(tmp_path / "jobs", "job")
    assert precious.is_dir()
