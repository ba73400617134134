"""Files of its folder that a trainer replaced: nothing behind them is shown, and nothing waits for them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.providers.base import Handle
from jobs.providers.local import log
from jobs.providers.local.log import REPLACED
from jobs.providers.local.watcher import changed_jobs
from jobs.statuses import JobStatus
from tests.jobs.providers.local.trainings import ENDLESS, Trainings

SECRET = "Step 7/8 loss=0.5 the-account-file\n"


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "account"
    path.write_text(SECRET)
    return path


def make_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")  # a socket's whole path is too long
    finally:
        os.close(folder)


MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, target: path.symlink_to(target),
    "dangling link": lambda path, target: path.symlink_to(target.with_name("nothing")),
    "link to itself": lambda path, _: path.symlink_to(path),
    "FIFO": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
    "socket": lambda path, _: make_socket(path),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_of_a_replaced_log_a_sentence_is_shown(trainings: Trainings, target: Path, kind: str) -> None:
    handle = trainings.start("print('Step 4/8', flush=True); " + ENDLESS, text="up")
    assert (before := trainings.fetch(handle)) and before.progress and before.progress.step == 4
    path = trainings.folder(handle) / "train.log"
    path.unlink()
    MAKERS[kind](path, target)
    snapshot = trainings.fetch(handle)
    assert snapshot and snapshot.progress
    assert (snapshot.status, snapshot.progress.last_log) == (JobStatus.RUNNING, REPLACED)
    assert snapshot.progress.step is None
    assert changed_jobs({}, jobs=trainings.jobs) == [handle.job_id]
    assert read_log(trainings, handle) == f"{REPLACED}\n"
    trainings.kill(handle, "trainer")
    ended = trainings.ended(handle)
    assert ended.status == JobStatus.FAILED
    assert ended.error_message and ended.error_message.endswith(REPLACED)


def read_log(trainings: Trainings, handle: Handle, start: int = 0) -> str:
    return asyncio.run(trainings.provider().read_log(handle, start=start)).text


def test_the_sentence_is_read_once_by_who_follows(trainings: Trainings, target: Path) -> None:
    path = target.with_name("train.log")
    path.symlink_to(target)
    whole = log.read_slice(path, start=0, limit=1000, ended=True)
    assert (whole.text, whole.complete) == (f"{REPLACED}\n", True)
    assert log.read_slice(path, start=whole.end, limit=1000, ended=True).text == ""
    assert log.read_slice(path, start=10**9, limit=1000, ended=True).text == ""


def test_a_regular_log_is_shown(trainings: Trainings) -> None:
    handle = trainings.start("print('Step 4/8')")
    trainings.ended(handle)
    assert read_log(trainings, handle) == "Step 4/8\n"


@pytest.mark.parametrize("kind", MAKERS)
def test_a_replaced_exit_record_is_no_end(trainings: Trainings, target: Path, kind: str) -> None:
    handle = trainings.start(ENDLESS, text="up")
    record = {"exit_code": 0, "stopped": False, "error": None, "ended_at": "2026-11-28T17:00:00+00:00"}
    target.write_text(json.dumps(record))
    MAKERS[kind](trainings.folder(handle) / "exit.json", target)
    assert (snapshot := trainings.fetch(handle)) and snapshot.status == JobStatus.RUNNING
    trainings.kill(handle, "runner")
    trainings.kill(handle, "trainer")
    assert trainings.ended(handle).status == JobStatus.FAILED
    assert json.loads(target.read_text()) == record


def test_an_exit_record_nested_too_deeply_is_none(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    (trainings.folder(handle) / "exit.json").write_text("[" * 60_000)
    assert (snapshot := trainings.fetch(handle)) and snapshot.status == JobStatus.RUNNING
