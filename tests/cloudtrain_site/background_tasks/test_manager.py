"""The background tasks: what they log and when; and as real processes, what becomes of them."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from cloudtrain_site.background_tasks import get_task_manager
from cloudtrain_site.background_tasks.cluster import STUCK_SECONDS, Diagnosis
from cloudtrain_site.background_tasks.heartbeats import FINISHED, SAVED, WorkerStates
from cloudtrain_site.background_tasks.manager import Outage, ScheduleBeat
from jobs.models import ProviderConfig
from tests.cloudtrain_site.process_stacks import START_SECONDS, Stack, migrated, stack
from tests.wait import wait_until


def write_apart() -> None:
    try:
        Schedule.objects.create(name="somebody's", func="print", next_run=timezone.now() + timedelta(hours=1))
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
class TestBeat:
    def test_it_says_what_it_starts(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "simpletuner.cloud.background")
        beat = ScheduleBeat()
        beat.beat()
        beat.beat()
        lines = [(r.levelname, r.message, vars(r).get("interval_seconds")) for r in caplog.records]
        assert lines == [("INFO", "Queue scheduler started", 5), ("INFO", "Starting job status polling", 30)]

    def test_polling_follows_the_webhook_address_within_one_beat(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "simpletuner.cloud.background")
        beat = ScheduleBeat()
        beat.beat()
        provider, _ = ProviderConfig.objects.update_or_create(
            name="replicate", defaults={"enabled": True, "webhook_url": "https://example.org/hook"}
        )
        beat.beat()
        assert not Schedule.objects.filter(name="job status polling").exists()
        ProviderConfig.objects.filter(pk=provider.pk).update(webhook_url="")
        beat.beat()
        assert Schedule.objects.filter(name="job status polling").exists()
        polling = [message for message in caplog.messages if "job status polling" in message]
        assert polling == ["Starting job status polling", "Stopping job status polling", "Starting job status polling"]

    @pytest.mark.sqlite
    def test_it_reads_the_rows_when_one_is_due_or_somebody_has_written(self, monkeypatch: Any) -> None:
        reads: list[datetime] = []
        monkeypatch.setattr("cloudtrain_site.background_tasks.manager.fire_due", reads.append)
        beat = ScheduleBeat()
        beat.beat()
        Schedule.objects.update(next_run=timezone.now() + timedelta(seconds=50))
        beat._due_at = None
        beat.beat()
        assert len(reads) == 1
        with ThreadPoolExecutor(1) as other:
            other.submit(write_apart).result()
        beat.beat()
        beat.beat()
        assert len(reads) == 2
        beat._due_at = timezone.now()
        beat.beat()
        assert len(reads) == 3

    def test_an_outage_is_logged_once(self, monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
        beat = ScheduleBeat()
        beat.beat()
        with monkeypatch.context() as broken:
            broken.setattr(beat.rows, "sync", lambda now, may_differ: 1 / 0)
            beat.beat()
            beat.beat()
        assert [r.message for r in caplog.records if r.levelname == "ERROR"] == ["Error in the beat"]

    def test_an_outage_between_whose_failures_work_succeeds_is_one(
        self, monkeypatch: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "simpletuner.cloud.background")
        now = [100.0]
        monkeypatch.setattr("cloudtrain_site.background_tasks.manager.time", SimpleNamespace(monotonic=lambda: now[0]))
        outage = Outage("Watcher failed", watcher="one")
        for turn in range(20):
            now[0] += 5
            outage.failed() if turn % 2 else outage.succeeded()
        assert caplog.messages == ["Watcher failed"]
        now[0] += 10
        outage.succeeded()
        outage.succeeded()
        assert caplog.messages == ["Watcher failed", "Works again: Watcher failed"]
        assert vars(caplog.records[-1])["outage_seconds"] == 90.0
        outage.failed()
        assert caplog.messages[2:] == ["Watcher failed"]

    def test_a_start_that_fails_is_told_as_documented(self, monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr("cloudtrain_site.background_tasks.manager.fire_due", lambda now: 1 / 0)
        ScheduleBeat().beat()
        assert [r.message for r in caplog.records if r.levelname == "ERROR"] == ["Failed to start queue processing"]


@pytest.fixture
def a_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test kills it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


class TestDiagnosis:
    """Two workers, one of them ourselves; time is what the test says."""

    @pytest.fixture
    def signs(self, tmp_path: Path) -> WorkerStates:
        return WorkerStates(tmp_path)

    @pytest.fixture
    def sign(self, tmp_path: Path) -> Callable[..., None]:
        def write(name: str, at: float, text: str = "") -> None:
            (tmp_path / name).write_text(text)
            os.utime(tmp_path / name, (at, at))

        return write

    @pytest.fixture
    def workers(self, sign: Callable[..., None], a_process: subprocess.Popen[bytes]) -> Callable[..., None]:
        def write(mine: str, other: str, at: float = 0) -> None:
            sign(f"{os.getpid()}.{mine}", at)
            sign(f"{a_process.pid}.{other}", at)

        return write

    def test_all_is_well(self, signs: WorkerStates, workers: Callable[..., None]) -> None:
        workers("idle", "busy")
        assert Diagnosis(signs, 2, 0).find_problem(lambda: False, 1) is None

    def test_an_idle_worker_that_was_killed(
        self, signs: WorkerStates, workers: Callable[..., None], a_process: subprocess.Popen[bytes]
    ) -> None:
        workers("idle", "idle")
        a_process.kill()
        a_process.wait()
        reason = Diagnosis(signs, 2, 0).find_problem(lambda: False, 1)
        assert reason == "an idle worker died, perhaps with the lock of the queue"

    def test_a_busy_worker_that_was_killed_is_replaced_by_its_own_cluster(
        self, signs: WorkerStates, workers: Callable[..., None], a_process: subprocess.Popen[bytes]
    ) -> None:
        workers("idle", "busy")
        a_process.kill()
        a_process.wait()
        assert Diagnosis(signs, 2, 0).find_problem(lambda: False, 1) is None

    def test_long_tasks_are_left_alone_though_others_wait(
        self, signs: WorkerStates, workers: Callable[..., None]
    ) -> None:
        workers("busy", "busy")
        diagnosis = Diagnosis(signs, 2, 0)
        assert [diagnosis.find_problem(lambda: True, now) for now in range(0, 300, 5)] == [None] * 60

    def test_a_free_worker_that_takes_no_task(self, signs: WorkerStates, workers: Callable[..., None]) -> None:
        workers("idle", "busy")
        diagnosis = Diagnosis(signs, 2, 0)
        assert diagnosis.find_problem(lambda: True, 1) is None
        assert diagnosis.find_problem(lambda: True, 2 + STUCK_SECONDS) == "tasks wait and a free worker takes none"

    def test_silence_is_no_sign_when_another_machine_takes_every_task(
        self, signs: WorkerStates, workers: Callable[..., None]
    ) -> None:
        workers("idle", "idle")
        diagnosis = Diagnosis(signs, 2, 0)
        waiting = itertools.cycle([True, False])
        assert [diagnosis.find_problem(lambda: next(waiting), now) for now in range(0, 300, 5)] == [None] * 60

    def test_a_worker_that_takes_one_now_and_then_is_well(
        self, signs: WorkerStates, workers: Callable[..., None]
    ) -> None:
        diagnosis = Diagnosis(signs, 2, 0)
        for now in range(0, 100, 5):
            workers("idle", "idle", at=now - now % 10)
            assert diagnosis.find_problem(lambda: True, now) is None

    def test_too_few_workers(self, signs: WorkerStates, sign: Callable[..., None]) -> None:
        sign(f"{os.getpid()}.idle", 0)
        diagnosis = Diagnosis(signs, 2, 0)
        assert diagnosis.find_problem(lambda: False, 29) is None
        assert diagnosis.find_problem(lambda: False, 31) == "only 1 of 2 workers are there"

    def test_a_dead_saver(
        self,
        signs: WorkerStates,
        workers: Callable[..., None],
        sign: Callable[..., None],
        a_process: subprocess.Popen[bytes],
    ) -> None:
        sign(f"{os.getpid()}.idle", 0)
        sign(SAVED, 0, str(a_process.pid))
        a_process.kill()
        a_process.wait()
        assert Diagnosis(signs, 1, 0).find_problem(lambda: False, 1) == "the process that saves results died"
        signs.forget_saver()
        assert Diagnosis(signs, 1, 0).find_problem(lambda: False, 1) is None

    def test_results_that_are_not_saved(
        self, signs: WorkerStates, workers: Callable[..., None], sign: Callable[..., None]
    ) -> None:
        workers("idle", "idle")
        sign(SAVED, 5, str(os.getpid()))
        sign(FINISHED, 6)
        diagnosis = Diagnosis(signs, 2, 0)
        assert diagnosis.find_problem(lambda: False, 7) is None
        assert diagnosis.find_problem(lambda: False, 8 + STUCK_SECONDS) == "results are no longer saved"


def enqueue(stack: Stack, task: str, *args: object) -> str:
    """Enqueue a task from a process that is none of the workers; returns its number if it isn't done yet."""
    code = (
        "import django; django.setup(); from django_q.models import OrmQ; from django_q.tasks import async_task\n"
        f"task = async_task({task!r}, *{args!r})\n"
        "print(*[row.pk for row in OrmQ.objects.all() if row.task_id() == task])"
    )
    done = stack.run("-c", code, DJANGO_SETTINGS_MODULE="cloudtrain_site.settings", PYTHONPATH=os.getcwd())
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.long
class TestProcesses:
    def test_two_share_the_ticks_and_outlive_what_is_killed(self, stack: Stack) -> None:
        """One life of two machines, since each start takes seconds; what is asked of it stands below by name."""
        first = stack.start("background", MACHINE="first")
        enqueue(stack, "os.spawnlp", os.P_NOWAIT, "setsid", "setsid", "sleep", "600")
        training = wait_until(lambda: stack.named("sleep"), START_SECONDS)
        second = stack.start("background", MACHINE="second")
        wait_until(lambda: len(stack.workers("idle")) == 4, START_SECONDS)
        each_tick_is_run_once(stack)
        killed_idle_workers_are_replaced_and_the_queue_goes_on(stack)
        kill_9_leaves_nothing_but_the_training_and_the_other_carries_on(stack, first, training)
        sigterm_ends_all_and_hands_back_what_was_in_hand(stack, second)
        assert stack.pids() == training

    def test_starting_and_stopping_twice_is_starting_and_stopping_once(self, stack: Stack) -> None:
        code = (
            "import asyncio, django; django.setup()\n"
            "from cloudtrain_site.background_tasks import *\n"
            "import threading\n"
            "async def main():\n"
            "    manager = get_task_manager()\n"
            "    await asyncio.gather(start_background_tasks(), start_background_tasks())\n"
            "    names = [thread.name for thread in threading.enumerate()]\n"
            "    assert manager._running and names.count('beat') == names.count('workers') == 1, names\n"
            "    await asyncio.gather(stop_background_tasks(), stop_background_tasks())\n"
            "    assert not manager._running\n"
            "    await start_background_tasks()\n"
            "    await stop_background_tasks()\n"
            "asyncio.run(main())\n"
        )
        done = stack.run("-c", code, DJANGO_SETTINGS_MODULE="cloudtrain_site.settings", PYTHONPATH=os.getcwd())
        assert done.returncode == 0, done.stderr
        assert not stack.pids()


def each_tick_is_run_once(stack: Stack) -> None:
    begun = len(stack.ticks())
    stack.wait_for_ticks(3)
    ticks = stack.ticks()[begun:]
    assert ticks == [ticks[0] + timedelta(seconds=number) for number in range(len(ticks))]


def killed_idle_workers_are_replaced_and_the_queue_goes_on(stack: Stack) -> None:
    """One of each machine: none is left that could take over for the other."""
    before = stack.workers()
    for machine in ("first", "second"):
        os.kill(min(stack.pids(MACHINE=machine) & wait_until(lambda: stack.workers("idle"))), signal.SIGKILL)
    deadline = time.monotonic() + 20
    wait_until(lambda: len(stack.workers("idle") - before) == 4, 20)
    stack.wait_for_ticks(seconds=deadline - time.monotonic())
    message = "Background workers are replaced: an idle worker died, perhaps with the lock of the queue"
    assert stack.messages().count(message) == 2


def kill_9_leaves_nothing_but_the_training_and_the_other_carries_on(
    stack: Stack, killed: subprocess.Popen[bytes], training: set[int]
) -> None:
    killed.kill()
    stack.wait_for_ticks(2, seconds=10)
    wait_until(lambda: stack.pids(MACHINE="first") == training, 10)
    assert len(set(stack.ticks())) == len(stack.ticks())


def sigterm_ends_all_and_hands_back_what_was_in_hand(stack: Stack, background: subprocess.Popen[bytes]) -> None:
    number = enqueue(stack, "subprocess.run", ["sleep", "50"])
    wait_until(lambda: len(stack.named("sleep")) == 2, 10)
    asked_at = time.monotonic()
    background.terminate()
    wait_until(lambda: not stack.pids(MACHINE="second"), 10)
    assert background.wait() == 0
    assert time.monotonic() - asked_at < 10
    [[lock]] = stack.query(f"SELECT lock FROM django_q_ormq WHERE id = {number}")
    assert str(lock)[:19] <= datetime.now(UTC).isoformat(" ")[:19]


def test_there_is_one_manager() -> None:
    assert get_task_manager() is get_task_manager()
    assert not get_task_manager()._running
