"""What a trainer starts and detaches, in groups and sessions of its own, ends with the training."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.providers.base import Handle
from jobs.providers.runner import records
from jobs.statuses import JobStatus
from tests.jobs.providers.local.trainings import ENDLESS, STUBBORN, Trainings, of_job, until

pytestmark = pytest.mark.slow

#: Becomes a daemon by the book, which tells its number and then does what is put in.
DAEMON = """
import os, signal, sys, time
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    job = os.getcwd()
    os.chdir("/")
    for descriptor in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    def tell(name):
        open(f"{job}/{name}.draft", "w").write(str(os.getpid()))
        os.rename(f"{job}/{name}.draft", f"{job}/{name}")
    %s
    os._exit(0)
while not os.path.exists("daemon"):
    time.sleep(0.01)
"""
WAITS = "tell('daemon'); signal.pause()"
SAVES = "signal.signal(15, lambda *_: tell('saved')); tell('daemon'); signal.pause()"
IGNORES = "signal.signal(15, signal.SIG_IGN); tell('daemon')\n    while True: signal.pause()"
HAS_CHILDREN = "os.fork() or tell('first'); os.fork() or os.setsid(); tell('daemon'); " + IGNORES


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    for path in trainings.jobs.glob("*/daemon"):
        for pid in of_job(path.parent.name):
            os.kill(pid, signal.SIGKILL)
    trainings.end_all()


def daemon_of(trainings: Trainings, handle: Handle) -> int:
    until((trainings.folder(handle) / "daemon").exists)
    return int((trainings.folder(handle) / "daemon").read_text())


def test_a_daemon_ends_with_its_trainer(trainings: Trainings) -> None:
    handle = trainings.start(DAEMON % WAITS)
    daemon = daemon_of(trainings, handle)
    snapshot = trainings.ended(handle)
    assert (snapshot.status, snapshot.error_message) == (JobStatus.COMPLETED, None)
    assert records.start_time(daemon) is None


def test_it_ends_with_a_cancelled_trainer(trainings: Trainings) -> None:
    handle = trainings.start(DAEMON % WAITS + ENDLESS, text="up")
    daemon = daemon_of(trainings, handle)
    assert records.start_time(daemon) is not None
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED
    assert records.start_time(daemon) is None


def test_it_ends_with_a_trainer_that_is_killed_after_its_grace(trainings: Trainings) -> None:
    handle = trainings.start(DAEMON % IGNORES + STUBBORN, text="up", grace=0.2)
    daemon = daemon_of(trainings, handle)
    trainings.cancel(handle)
    assert trainings.ended(handle).status == JobStatus.CANCELLED
    assert records.start_time(daemon) is None


def test_it_may_save_before_it_ends(trainings: Trainings) -> None:
    handle = trainings.start(DAEMON % SAVES)
    trainings.ended(handle)
    assert (trainings.folder(handle) / "saved").exists()


@pytest.mark.parametrize("does", [IGNORES, HAS_CHILDREN])
def test_one_that_ignores_sigterm_is_killed_with_its_children(trainings: Trainings, does: str) -> None:
    handle = trainings.start(DAEMON % does, grace=0.2)
    trainings.ended(handle)
    assert records.start_time(daemon_of(trainings, handle)) is None
    until(lambda: not of_job(handle.job_id))


def test_while_the_training_goes_on_the_dead_are_reaped(trainings: Trainings) -> None:
    orphans = "import os\nfor _ in range(20):\n    if not os.fork(): os.fork(); os._exit(0)\n    os.wait()\n"
    handle = trainings.start(orphans + ENDLESS, text="up")
    supervisor, trainer = (trainings.pid(handle, whose) for whose in ("runner", "trainer"))
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    until(lambda: children.read_text().split() == [str(trainer)])


def test_what_is_in_the_trainers_group_is_told_to_stop_once(trainings: Trainings) -> None:
    on_term = "signal.signal(15, lambda *_: (print('told', flush=True), time.sleep(0.5)))"
    code = (
        f"import os, signal, time\nif not os.fork(): {on_term}; print('up', flush=True); signal.pause(); os._exit(0)\n"
    )
    handle = trainings.start(code + "signal.pause()", text="up")
    trainings.cancel(handle)
    trainings.ended(handle)
    assert trainings.log(handle) == "up\ntold\n"
