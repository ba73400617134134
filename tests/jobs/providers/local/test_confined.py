"""The operator's recipe for a trainer that reaches its own job alone: `examples/confined-trainer`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.enterprise import SAMPLE_TRAINER
from jobs.statuses import JobStatus
from tests.jobs.providers.local.confined import SCRIPT, confined, need_bubblewrap
from tests.jobs.providers.local.trainings import SAVING, STUBBORN, Trainings, make_spec, of_job, until

pytestmark = pytest.mark.slow

#: Tries what a trainer of the same user could do without the recipe, and prints the error of each attempt.
PROBE = """
import json, os, signal, socket, sys
places = json.loads(sys.argv[1])
def attempt(work, *arguments):
    try:
        return str(work(*arguments))[:20]
    except OSError as error:
        return type(error).__name__
def write(path):
    with open(path, "w") as file:
        return file.write("mine")
results = {name: attempt(open, path) for name, path in places["read"].items()}
results |= {name: attempt(write, path) for name, path in places["write"].items()}
results |= {"kill": attempt(os.kill, places["pid"], 0)}
results |= {"connect": attempt(socket.create_connection, ("127.0.0.1", places["port"]), 5)}
results |= {"jobs": sorted(os.listdir(places["jobs"])), "processes": sum(map(str.isdigit, os.listdir("/proc")))}
print(json.dumps(results))
"""


@pytest.fixture(scope="module", autouse=True)
def _bubblewrap() -> None:
    need_bubblewrap()


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def run(code: str, *arguments: str) -> list[str]:
    return confined("{python}", "-S", "-c", code, *arguments)


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a server of the site's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_reaches_its_own_job_alone(trainings: Trainings, listener: int) -> None:
    other = trainings.start("")
    spec = make_spec()
    own, data = trainings.jobs / spec.job_id, trainings.data_dir
    for path in (own / "dataset" / "toy.txt", data / "cloudtrain.sqlite3", data / "secret_key"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    forbidden = {"database": data / "cloudtrain.sqlite3", "key": data / "secret_key"}
    forbidden |= {"other": trainings.folder(other) / "config.json", "environment": Path(f"/proc/{os.getpid()}/environ")}
    places: dict[str, Any] = {
        "read": {**forbidden, "config": own / "config.json", "toy": own / "dataset" / "toy.txt"},
        "write": {"output": own / "output" / "model", "exit": own / "exit.json", "claim": own / "process.json"},
        "pid": os.getpid(),
        "port": listener,
        "jobs": trainings.jobs,
    }
    handle = trainings.start(command=run(PROBE, json.dumps(places, default=str)), spec=spec)
    snapshot = trainings.ended(handle)
    assert snapshot.status == JobStatus.COMPLETED, snapshot.error_message
    results = json.loads(trainings.log(handle))
    assert {name: results[name] for name in forbidden} == dict.fromkeys(forbidden, "FileNotFoundError")
    assert {results[name][:15] for name in ("config", "toy")} == {"<_io.TextIOWrap"}
    assert (results["output"], results["exit"], results["claim"]) == (
        "4",
        "OSError",
        "OSError",
    )  # a read-only file system
    assert (results["kill"], results["connect"]) == ("ProcessLookupError", "ConnectionRefusedError")
    assert (results["jobs"], results["processes"]) == ([spec.job_id], 2)
    assert (own / "output" / "model").read_text() == "mine"


def test_without_it_a_trainer_reaches_them(trainings: Trainings, listener: int) -> None:
    other = trainings.start("")
    places: dict[str, Any] = {
        "read": {"other": trainings.folder(other) / "config.json", "environment": Path(f"/proc/{os.getpid()}/environ")},
        "write": {"outside": trainings.data_dir / "written"},
        "pid": os.getpid(),
        "port": listener,
        "jobs": trainings.jobs,
    }
    command = ["{python}", "-S", "-c", PROBE, json.dumps(places, default=str)]
    handle = trainings.start(command=command)
    trainings.ended(handle)
    results = json.loads(trainings.log(handle))
    assert not [name for name in ("other", "environment", "outside", "kill", "connect") if "Error" in results[name]]


def test_the_sample_trainer_trains(trainings: Trainings) -> None:
    spec = make_spec(config={"max_train_steps": 2, "seed": 1})
    handle = trainings.start(command=confined(*SAMPLE_TRAINER), spec=spec)
    snapshot = trainings.ended(handle)
    assert snapshot.status == JobStatus.COMPLETED, snapshot.error_message
    assert snapshot.progress and (snapshot.progress.step, snapshot.progress.total) == (2, 2)
    assert (trainings.folder(handle) / "output" / "result.json").exists()


def test_its_failure_is_told(trainings: Trainings) -> None:
    handle = trainings.start(command=run("raise SystemExit('no such model')"))
    assert trainings.ended(handle).error_message == "The trainer ended with exit code 1: no such model"


def test_that_it_was_killed_is_told(trainings: Trainings) -> None:
    message = trainings.ended(trainings.start(command=run("import os; os.kill(os.getpid(), 9)"))).error_message
    assert message == "The trainer was killed (SIGKILL), probably because the machine ran out of memory."


def test_it_may_save_when_it_is_cancelled(trainings: Trainings) -> None:
    handle = trainings.start(command=run(SAVING), text="up")
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED
    assert trainings.log(handle) == "up\nsaved\n"


def test_a_stubborn_one_is_killed_after_its_grace(trainings: Trainings) -> None:
    handle = trainings.start(command=run(STUBBORN), text="up", grace=0.2)
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED
    until(lambda: not of_job(handle.job_id))


def test_what_it_leaves_behind_is_ended(trainings: Trainings) -> None:
    code = "import os, signal\nif not os.fork():\n    os.setsid()\n    os.fork() or signal.pause()"
    handle = trainings.start(command=run(code))
    assert trainings.ended(handle).status == JobStatus.COMPLETED
    until(lambda: not of_job(handle.job_id))


def test_a_command_without_a_program_says_how_it_is_used(trainings: Trainings) -> None:
    handle = trainings.start(command=[str(SCRIPT), "{job_dir}", "python"])
    message = trainings.ended(handle).error_message
    assert message == (
        "The trainer ended with exit code 64: usage: confined-trainer JOB_DIR [READABLE ...] -- PROGRAM [ARGUMENT ...]"
    )
