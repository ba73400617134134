"""The process that starts a trainer, waits for it and writes down how it went."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.identifiers import new_job_id
from jobs.providers.base import Handle
from jobs.providers.runner import FOLDER as RUNNER
from jobs.providers.runner import records
from tests.jobs.providers.local.trainings import ENDLESS, SAVING, STUBBORN, Trainings, processes_of, until

OF_A_TRAINING = {"step", "model", "train.log", "process.json", "exit.json"}


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def end_of(trainings: Trainings, handle: Handle) -> dict[str, Any]:
    until((trainings.folder(handle) / "exit.json").exists)
    return trainings.record(handle, "exit.json")


def test_it_writes_down_the_exit_code(trainings: Trainings) -> None:
    end = end_of(trainings, trainings.start("raise SystemExit(3)"))
    assert (end["exit_code"], end["stopped"], end["error"]) == (3, False, None)


def test_it_writes_down_the_signal_that_killed_the_trainer(trainings: Trainings) -> None:
    end = end_of(trainings, trainings.start("import os; os.kill(os.getpid(), 9)"))
    assert end["exit_code"] == -signal.SIGKILL


def test_it_says_in_words_that_a_program_does_not_exist(trainings: Trainings) -> None:
    end = end_of(trainings, trainings.start(command=["no-such-trainer"]))
    assert end["error"] == "The trainer's program 'no-such-trainer' could not be started: it does not exist."


def test_it_records_both_processes_with_their_start_times(trainings: Trainings) -> None:
    record = trainings.record(trainings.start(ENDLESS))
    for whose in ("runner", "trainer"):
        assert records.start_time(record[whose]["pid"]) == record[whose]["start"]
    assert (record["host"], record["boot_id"]) == (records.host_name(), records.boot_id())


def test_all_that_a_training_makes_is_for_our_account_alone(trainings: Trainings) -> None:
    handle = trainings.start("import os; os.mkdir('output/step'); open('output/step/model', 'w')")
    trainings.ended(handle)
    made = [path for path in trainings.folder(handle).rglob("*") if path.name in OF_A_TRAINING]
    assert {path.name for path in made} == OF_A_TRAINING
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_it_gives_the_trainer_a_group_of_its_own_in_a_session_of_its_own(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS)
    runner, trainer = trainings.pid(handle, "runner"), trainings.pid(handle, "trainer")
    assert os.getsid(trainer) == os.getsid(runner) == runner
    assert os.getpgid(trainer) == trainer


def test_it_hands_down_no_descriptor_of_ours(trainings: Trainings, tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        handle = trainings.start(
            "import os; print(sorted(os.listdir('/proc/self/fd'))); print(os.readlink('/proc/self/fd/0'))"
        )
    end_of(trainings, handle)
    # The last one is the listing itself.
    assert trainings.log(handle) == "['0', '1', '2', '3']\n/dev/null\n"


def test_it_gives_the_trainer_the_usual_signals_back(trainings: Trainings) -> None:
    code = "import signal as s; print([s.getsignal(n) == s.SIG_DFL for n in (1, 15)], s.pthread_sigmask(0, []))"
    handle = trainings.start(code, text="set()")
    assert trainings.log(handle) == "[True, True] set()\n"


def test_hanging_up_and_interrupting_do_not_end_it(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    runner = trainings.pid(handle, "runner")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(runner, number)
    assert end_of(trainings, handle)["stopped"]


def test_a_trainer_may_save_before_it_stops(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    os.kill(trainings.pid(handle, "runner"), signal.SIGTERM)
    end = end_of(trainings, handle)
    assert (end["exit_code"], end["stopped"], trainings.log(handle)) == (0, True, "up\nsaved\n")


def test_a_trainer_that_ignores_sigterm_is_killed_after_its_grace(trainings: Trainings) -> None:
    handle = trainings.start(STUBBORN, text="up", grace=0.2)
    asked_at = time.monotonic()
    os.kill(trainings.pid(handle, "runner"), signal.SIGTERM)
    assert end_of(trainings, handle)["exit_code"] == -signal.SIGKILL
    assert time.monotonic() - asked_at >= 0.2


def test_a_stopped_trainer_hears_of_it_as_well(trainings: Trainings) -> None:
    handle = trainings.start(SAVING, text="up")
    os.kill(trainings.pid(handle, "trainer"), signal.SIGSTOP)
    os.kill(trainings.pid(handle, "runner"), signal.SIGTERM)
    assert end_of(trainings, handle)["exit_code"] == 0


def test_the_whole_group_is_told_to_stop(trainings: Trainings) -> None:
    handle = trainings.start(command=["sh", "-c", "sleep 60 & echo up; wait"], text="up")
    os.kill(trainings.pid(handle, "runner"), signal.SIGTERM)
    end_of(trainings, handle)
    until(lambda: not list(processes_of(trainings.folder(handle))))


def test_what_a_trainer_leaves_behind_is_ended(trainings: Trainings) -> None:
    handle = trainings.start(command=["sh", "-c", "sleep 60 & exit 0"])
    assert end_of(trainings, handle)["exit_code"] == 0
    until(lambda: not list(processes_of(trainings.folder(handle))))


def test_a_trainer_that_empties_its_folder_has_its_end_recorded(trainings: Trainings) -> None:
    code = "import os; [os.unlink(name) for name in os.listdir() if os.path.isfile(name)]; raise SystemExit(3)"
    assert end_of(trainings, trainings.start(code))["exit_code"] == 3


def test_a_cancellation_that_came_first_starts_nothing(trainings: Trainings, tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / new_job_id()
    make_folders(folder)
    (folder / "cancel.json").write_text("{}")
    run_by_hand(folder, "sh", "-c", "echo started")
    until((folder / "exit.json").exists)
    assert (json.loads((folder / "exit.json").read_text())["stopped"], (folder / "train.log").read_text()) == (True, "")


def test_it_starts_nothing_once_it_was_given_up_on(trainings: Trainings, tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / new_job_id()
    make_folders(folder)
    run_by_hand(folder, "sh", "-c", "echo started", until=time.monotonic() - 1)
    until(lambda: not list(folder.glob("exit.json*")))
    assert not (folder / "process.json").exists()
    assert list((folder.parent / "claims").iterdir()) == []
    assert (folder / "train.log").read_text() == ""


def test_it_ends_with_a_sentence_when_its_folder_is_gone(tmp_path: Path) -> None:
    result = run_by_hand(tmp_path / "gone", "sh", "-c", "echo started")
    assert result.stderr == "No such file or directory\n"


def test_it_is_up_within_a_blink_and_small(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS)
    status = Path(f"/proc/{trainings.pid(handle, 'runner')}/status").read_text()
    kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    assert kilobytes < 20_000


def make_folders(folder: Path) -> None:
    for path in (folder, folder.parent / "active", folder.parent / "claims"):
        path.mkdir(parents=True)


def run_by_hand(folder: Path, *command: str, until: float | None = None) -> subprocess.CompletedProcess[str]:
    deadline = str(until or time.monotonic() + 10)
    arguments = [str(RUNNER), str(folder), "ct-marker", "1", deadline, *command]
    return subprocess.run(
        [sys.executable, "-I", "-S", *arguments], capture_output=True, text=True, timeout=10, check=False
    )
