"""The runner as an engine's own process on a node of a cluster."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.providers import runner
from jobs.providers.runner import marks, records
from jobs.providers.runner.node import CANT_WRITE
from tests.jobs.providers.local.trainings import ENDLESS, SAVING, STUBBORN, until

pytestmark = pytest.mark.slow

#: What an engine does: it starts our runner, and may die before it.
SUPERVISOR = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], start_new_session=True))"


class Node:
    """A folder of a job on a node, a folder of records on a shared one, and what was started there."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "node"
        self.records = path / "shared" / "ct-marker"
        self.folder.mkdir()
        self.records.mkdir(parents=True)
        (self.folder / runner.ARCHIVE_NAME).write_bytes(runner.archive())
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, code: str = "", *, is_shared: bool = True, supervised: bool = False, **order: Any) -> Any:
        whole = {
            "marker": "ct-marker",
            "command": [sys.executable, "-S", "-c", code],
            "grace_seconds": 10,
            "output": "{folder}/output",
            "records": str(self.records) if is_shared else "",
            "log": "records" if is_shared else "stdout",
            "marks": True,
            "forwards": True,
            "environment": {"CLOUDTRAIN_JOB_ID": "job-1"},
            "placed": [],
            **order,
        }
        (self.folder / runner.RUN_NAME).write_text(json.dumps(whole))
        command = [sys.executable, "-I", "-S", runner.ARCHIVE_NAME, runner.RUN_NAME]
        if supervised:
            command = [sys.executable, "-c", SUPERVISOR, *command]
        with (self.folder / "stdout").open("wb") as stdout, (self.folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(command, cwd=self.folder, stdout=stdout, stderr=stderr)
        self.started.append(process)
        return process

    def run(self, code: str = "", **options: Any) -> int:
        """Run to the end. Returns the exit code."""
        code_: int = self.start(code, **options).wait(30)
        return code_

    @property
    def output(self) -> bytes:
        return (self.folder / "stdout").read_bytes()

    @property
    def sentence(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def log(self) -> bytes:
        return (self.records / records.LOG).read_bytes()

    def record(self, name: str = records.END) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.records / name).read_text())
        return found

    def marked(self, kind: str) -> Any:
        found = [marks.read_mark(match[1]) for match in marks.MARK.finditer(self.output)]
        return next(fields[kind] for fields in found if fields and kind in fields)

    def pid(self, whose: str) -> int:
        until((self.records / records.CLAIM).exists)
        pid: int = self.record(records.CLAIM)[whose]["pid"]
        return pid

    def is_up(self) -> bool:
        with suppress(FileNotFoundError):
            return b"up" in self.log
        return False


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for process in node.started:
        process.kill()
        process.wait()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cwd").resolve() == node.folder.resolve():
                os.kill(int(path.name), signal.SIGKILL)


def is_gone(pid: int) -> Callable[[], bool]:
    return lambda: records.start_time(pid) is None


def test_its_exit_code_is_the_trainers(node: Node) -> None:
    assert node.run("raise SystemExit(3)") == 3
    assert (node.record()["exit_code"], node.record()["stopped"], node.record()["error"]) == (3, False, None)


def test_its_exit_code_tells_of_a_signal_as_a_shell_does(node: Node) -> None:
    assert node.run("import os; os.kill(os.getpid(), 9)") == 128 + signal.SIGKILL
    assert node.record()["exit_code"] == -signal.SIGKILL


def test_its_output_has_the_start_and_the_end(node: Node) -> None:
    node.run("print('step 1')")
    assert node.marked("start") == node.record(records.CLAIM)
    assert node.marked("end") == {**node.record(), "started_at": node.record(records.CLAIM)["started_at"]}


def test_without_marks_its_output_is_empty(node: Node) -> None:
    node.run("print('step 1')", marks=False)
    assert (node.output, node.log) == (b"", b"step 1\n")


def test_it_copies_the_log_to_its_output_byte_by_byte(node: Node) -> None:
    code = "import os; os.write(1, b'a\\r\\xff\\x00b' * 50_000); os.write(2, b'end')"
    assert node.run(code, is_shared=False) == 0
    assert marks.MARK.sub(b"", node.output) == b"a\r\xff\x00b" * 50_000 + b"end"
    assert not (node.records / records.LOG).exists()


def test_a_mark_tells_how_many_bytes_of_the_log_are_before_it(node: Node) -> None:
    node.run("import os\nfor _ in range(5): os.write(1, b'x' * 50_000)", is_shared=False)
    seen, last, places = 0, 0, []
    for match in marks.MARK.finditer(node.output):
        seen, last = seen + match.start() - last, match.end()
        fields = marks.read_mark(match[1])
        assert fields is not None
        places.append((fields["at"], seen))
    assert len(places) >= 4
    assert [at for at, _ in places] == [seen for _, seen in places]


def test_it_writes_the_jobs_folder_into_the_command_and_the_files(node: Node) -> None:
    (node.folder / records.DATALOADER).write_text('[{"dir": "{folder}/dataset"}]')
    code = "import sys, os; print(sys.argv[1], open('dataloader.json').read(), os.environ['CLOUDTRAIN_JOB_ID'])"
    node.run(command=[sys.executable, "-c", code, "{folder}/output"], placed=[records.DATALOADER])
    assert node.log.decode() == f'{node.folder}/output [{{"dir": "{node.folder}/dataset"}}] job-1\n'


def test_the_trainer_finds_a_folder_for_its_output(node: Node) -> None:
    assert node.run("import os; os.mkdir('output/checkpoint')") == 0


def test_the_configs_secrets_are_gone_at_the_end(node: Node) -> None:
    (node.folder / records.CONFIG).write_text('{"hf_token": "hf_secret"}')
    (node.folder / f"{records.CONFIG}{records.MASKED}").write_text('{"hf_token": "***"}')
    node.run("print(open('config.json').read())")
    assert b"hf_secret" in node.log
    assert [path for path in node.folder.glob("*.*") if b"hf_secret" in path.read_bytes()] == []


def test_a_marker_is_started_once(node: Node) -> None:
    node.run("print('first')")
    assert node.run("print('second')") == 75
    assert node.sentence == "This submission was already started. It is not started again.\n"
    assert node.log == b"first\n"


def test_of_eight_at_once_one_starts(node: Node) -> None:
    processes = [node.start("print('x', flush=True); import time; time.sleep(0.5)") for _ in range(8)]
    assert sorted(process.wait(30) for process in processes) == [0] + [75] * 7
    assert node.log == b"x\n"


def test_a_folder_that_is_not_shared_is_a_sentence(node: Node) -> None:
    node.records.rmdir()
    assert node.run("print('up')") == 73
    assert node.marked("end")["error"] == (
        f"The shared folder is missing on node {records.host_name()}: there is no {node.records}. "
        "Mount it there under the same path."
    )


def test_a_log_that_cant_be_written_is_a_sentence(node: Node) -> None:
    (node.records / records.LOG).mkdir()
    assert node.run("print('up')") == 73
    sentence = f"The job's folder can't be written on node {records.host_name()}: Is a directory."
    assert (node.marked("end")["error"], node.sentence) == (sentence, f"{sentence}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_below_the_engines_log_does_not_stop_the_training() -> None:
    source, target = os.pipe()
    os.write(target, b"x" * 10_000)
    os.close(target)
    with Path("/dev/full").open("wb") as full:
        copy = marks.MarkedCopy(source, full.fileno())
        copy.run()
    assert copy.copied == 10_000


def test_a_trainer_that_does_not_exist_is_a_sentence(node: Node) -> None:
    assert node.run(command=["no-such-trainer"]) == 127
    assert node.record()["error"] == "The trainer's program 'no-such-trainer' could not be started: it does not exist."


def test_sigterm_gives_the_trainer_time_to_save(node: Node) -> None:
    process = node.start(SAVING)
    until(node.is_up)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert b"saved" in node.log
    assert node.record()["stopped"] is True


def test_a_deaf_trainer_is_killed_after_the_grace(node: Node) -> None:
    process = node.start(STUBBORN, grace_seconds=0.2)
    until(node.is_up)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGKILL


def test_it_forwards_no_sigterm_where_the_engine_tells_all(node: Node) -> None:
    process = node.start(ENDLESS, forwards=False, grace_seconds=0.5)
    until(node.is_up)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGKILL  # a forwarded one would have ended it at once


def test_a_trainer_that_ended_at_once_when_the_engine_told_all_was_stopped(node: Node) -> None:
    process = node.start(SAVING, forwards=False)
    until(node.is_up)
    trainer = node.pid("trainer")
    process.send_signal(signal.SIGSTOP)  # as a busy machine does
    process.send_signal(signal.SIGTERM)
    os.kill(trainer, signal.SIGTERM)
    until(is_gone(trainer))
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 0
    assert node.record()["stopped"] is True


def test_a_cancellation_before_the_start_is_heeded(node: Node) -> None:
    (node.records / records.CANCEL).write_text("{}")
    assert node.run("print('up')") == 0
    assert node.log == b""
    assert (node.record()["stopped"], node.record()["exit_code"]) == (True, None)


def test_it_ends_with_its_supervisor(node: Node) -> None:
    supervisor = node.start(SAVING, supervised=True)
    until(node.is_up)
    supervisor.kill()
    until((node.records / records.END).exists)
    assert b"saved" in node.log
    assert node.record()["stopped"] is True


def test_the_trainer_ends_also_when_the_runner_is_killed(node: Node) -> None:
    process = node.start(SAVING)
    until(node.is_up)
    trainer = node.pid("trainer")
    process.kill()
    until(is_gone(trainer))
    assert b"saved" in node.log


def test_a_deaf_trainer_is_killed_also_when_the_runner_is(node: Node) -> None:
    process = node.start(STUBBORN, grace_seconds=0.2)
    until(node.is_up)
    trainer = node.pid("trainer")
    process.kill()
    until(is_gone(trainer))


def test_what_a_trainer_leaves_running_is_ended(node: Node) -> None:
    left = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)"
    assert node.run(left, grace_seconds=0.2) == 0
    assert records.start_time(int(node.log)) is None


def test_every_module_is_in_the_archive_and_of_python_3_8() -> None:
    assert set(runner.MODULES) == {path.name for path in runner.FOLDER.glob("*.py")} - {"__init__.py"}
    for name in runner.MODULES:
        ast.parse((runner.FOLDER / name).read_text(), feature_version=(3, 8))


def test_a_python_without_pidfd_signals_the_process_it_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.providers.runner import processes

    monkeypatch.delattr(os, "pidfd_open")
    child = subprocess.Popen(["sleep", "600"])
    start = records.start_time(child.pid)
    assert start is not None
    processes.signal_process(child.pid, start + 1, signal.SIGKILL)
    assert child.poll() is None
    processes.signal_process(child.pid, start, signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL


def test_a_checkpoint_is_there_before_the_trainer(node: Node, tmp_path: Path) -> None:
    (tmp_path / "earlier" / "checkpoint-5").mkdir(parents=True)
    (tmp_path / "earlier" / "checkpoint-5" / "state").write_text("of the earlier one")
    order = {"output": str(tmp_path / "earlier"), "path": "checkpoint-5"}
    (node.folder / records.CHECKPOINT).write_text(json.dumps(order))
    assert node.run("assert open('output/checkpoint-5/state').read() == 'of the earlier one'") == 0


def test_without_its_checkpoint_nothing_is_trained_and_it_says_so(node: Node, tmp_path: Path) -> None:
    order = {"output": str(tmp_path / "earlier"), "path": "checkpoint-5"}
    (node.folder / records.CHECKPOINT).write_text(json.dumps(order))
    assert node.run("open('trained', 'w')") == CANT_WRITE
    assert not (node.folder / "trained").exists()
    end = json.loads((node.records / records.END).read_text())
    assert (end["exit_code"], end["stopped"]) == (None, False)
    assert "can't be copied" in end["error"]
