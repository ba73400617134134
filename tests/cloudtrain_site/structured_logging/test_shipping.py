"""The real syslog-ng with the configuration of docs/log-shipping.md, from a log of ours to each of the four intakes."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.structured_logging import LogContext, get_logger
from tests.cloudtrain_site.conftest import ROOT
from tests.cloudtrain_site.doc_recipes import LOG
from tests.cloudtrain_site.structured_logging.log_intakes import INTAKES, KEY, Intake, Line, Receiver
from tests.cloudtrain_site.structured_logging.test_logrotate import logrotate as logrotate
from tests.servers import find_binary, free_port, missing
from tests.wait import wait_until

pytestmark = pytest.mark.long
TEXT = (ROOT / "docs" / "log-shipping.md").read_text()
READING, *DESTINATIONS = re.findall(r"```syslog-ng\n(.*?)```", TEXT, re.DOTALL)
PATIENCE = 40.0
KEYS = dict.fromkeys(re.findall(r"`([A-Z_]+)`", "".join(DESTINATIONS)), KEY)

logger = get_logger("simpletuner.cloud.jobs")
only_loki = pytest.mark.parametrize("receiver", INTAKES[:1], ids=["Loki"], indirect=True)


@dataclass
class Shipper:
    """syslog-ng, all of whose files are in the test's folder."""

    folder: Path
    config: Path
    binary: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        own = [f"--{name}={self.folder / name}" for name in ("persist-file", "pidfile", "control")]
        command = [self.binary, "-F", "-e", "--no-caps", "-f", str(self.config), *own]
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(command, env={**os.environ, **KEYS}, stdout=output, stderr=output)
        self.running.append(process)
        wait_until(lambda: process.poll() is None and (self.folder / "control").exists())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        while self.running:
            process = self.running.pop()
            process.send_signal(how)
            process.wait(20)
        (self.folder / "control").unlink(missing_ok=True)

    def output(self) -> str:
        return (self.folder / "output").read_text()


@pytest.fixture(params=INTAKES, ids=[intake.name for intake in INTAKES])
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    intake: Intake = request.param
    made = Receiver(intake, free_port()).open()
    yield made
    made.shut()


@pytest.fixture
def shipper(tmp_path: Path, receiver: Receiver) -> Iterator[Shipper]:
    """Not started yet."""
    binary = find_binary("syslog-ng") or find_binary("/usr/sbin/syslog-ng")
    if binary is None:
        missing("syslog-ng")
    assert binary
    (recipe,) = [text for text in DESTINATIONS if receiver.intake.path in text]
    local = re.sub(r"https://[^/]+/", f"http://127.0.0.1:{receiver.port}/", READING + recipe)
    local = local.replace(LOG, str(tmp_path / "cloud.log")).replace("/var/lib/syslog-ng", str(tmp_path))
    # The tests wait for one second where the recipe has five.
    assert "time-reopen(5)" in local
    local = local.replace("time-reopen(5)", "time-reopen(1)")
    config = tmp_path / "syslog-ng.conf"
    config.write_text(f"@version: 3.38\n{local}")
    made = Shipper(tmp_path, config, binary)
    yield made
    made.stop(signal.SIGKILL)


def write(name: str, count: int = 30) -> None:
    """What a run of ours logs, of every kind."""
    for number in range(count):
        with correlation(f"{name}-{number}"), LogContext(job_id=f"job-{number}"):
            logger.info("Job submitted successfully", cost_estimate=2.5, deep={"a": [1, None, True, "2.0"]})
    with correlation(name):
        logger.warning("Strange: 'quoted' \"twice\" \\ C:\\new\n\tline $MESSAGE ${LEVEL} `KEY` é 🙂")
        try:
            raise ValueError("broken\nhere")
        except ValueError:
            logger.exception("Failed", long="x" * 100_000)


def written(folder: Path) -> list[Line]:
    """All lines in their order, those that were rotated away too."""
    packed = [gzip.decompress(path.read_bytes()) for path in sorted(folder.glob("cloud.log.*.gz"), reverse=True)]
    plain = [path.read_bytes() for path in (folder / "cloud.log.1", folder / "cloud.log") if path.exists()]
    return [json.loads(line) for text in [*packed, *plain] for line in text.splitlines()]


def milliseconds(line: Line) -> int:
    return round(datetime.fromisoformat(line["timestamp"]).timestamp() * 1000)


def queued(folder: Path) -> str:
    """What the shipper keeps for a receiver that is away."""
    return "".join(path.read_text("latin-1") for path in folder.glob("*.rqf"))


def wait_for_more(receiver: Receiver) -> None:
    before = len(receiver.arrived)
    wait_until(lambda: len(receiver.arrived) > before, PATIENCE)


def rotate(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def test_every_line_arrives_once_over_rotations_an_outage_and_a_restart(
    tmp_path: Path, log_file: Path, receiver: Receiver, shipper: Shipper, logrotate: list[str]
) -> None:
    write("before")
    shipper.start()
    wait_until(lambda: len(receiver.arrived) == len(written(tmp_path)), PATIENCE)
    receiver.trouble = 503
    write("overloaded")
    wait_until(lambda: receiver.troubled, PATIENCE)
    receiver.shut()
    rotate(logrotate)
    write("away")
    wait_until(lambda: '"correlation_id": "away"' in queued(tmp_path), PATIENCE)
    shipper.stop()
    write("nobody-reads")
    shipper.start()
    receiver.trouble = None
    receiver.open()
    wait_until(lambda: len(receiver.arrived) >= len(written(tmp_path)), PATIENCE)
    rotate(logrotate)
    write("after")
    wait_until(lambda: len(receiver.arrived) >= len(written(tmp_path)), PATIENCE)
    shipper.stop()
    lines = written(tmp_path)
    assert receiver.refused == []
    assert [entry.line for entry in receiver.arrived] == lines
    assert [entry.milliseconds for entry in receiver.arrived] == [milliseconds(line) for line in lines]
    assert [entry.labels for entry in receiver.arrived] == [receiver.intake.labels(line) for line in lines]
    assert {"after-7", "job-7"} <= {lines[-25]["correlation_id"], lines[-25]["extra"]["job_id"]}


@only_loki
def test_a_shipper_that_is_killed_sends_a_line_twice_rather_than_never(
    tmp_path: Path, log_file: Path, receiver: Receiver, shipper: Shipper
) -> None:
    for part in range(3):
        shipper.start()
        write(f"part-{part}", 300)
        wait_for_more(receiver)
        shipper.stop(signal.SIGKILL)
    shipper.start()
    lines = {json.dumps(line) for line in written(tmp_path)}
    wait_until(lambda: lines <= {json.dumps(entry.line) for entry in [*receiver.arrived]}, PATIENCE)
    assert receiver.refused == []
    assert {json.dumps(entry.line) for entry in receiver.arrived} == lines


@only_loki
@pytest.mark.parametrize("status", [401, 429, 500])
def test_lines_wait_while_the_receiver_says_no(
    tmp_path: Path, log_file: Path, receiver: Receiver, shipper: Shipper, status: int
) -> None:
    receiver.trouble = status
    write("waiting", 3)
    shipper.start()
    # More often than the three times after which syslog-ng gives a batch up by default.
    wait_until(lambda: receiver.troubled > 4, PATIENCE)
    receiver.trouble = None
    wait_until(lambda: receiver.arrived, PATIENCE)
    assert [entry.line for entry in receiver.arrived] == written(tmp_path)


@only_loki
def test_the_file_waits_when_the_buffer_is_full(
    tmp_path: Path, log_file: Path, receiver: Receiver, shipper: Shipper
) -> None:
    smaller = shipper.config.read_text().replace("1073741824", "1048576").replace("134217728", "524288")
    shipper.config.write_text(smaller)
    receiver.shut()
    shipper.start()
    for number in range(8000):
        logger.info("Some", number=number)
    # From here on the last half megabyte is for what was read already.
    wait_until(lambda: len(queued(tmp_path)) > 500_000, PATIENCE)
    assert len(queued(tmp_path)) < log_file.stat().st_size
    receiver.open()
    wait_until(lambda: len(receiver.arrived) >= 8000, PATIENCE)
    assert [entry.line["extra"]["number"] for entry in receiver.arrived] == list(range(8000))


def test_a_torn_line_arrives_as_the_message_of_an_error(
    tmp_path: Path, log_file: Path, receiver: Receiver, shipper: Shipper
) -> None:
    torn = '{"timestamp": "2024-01-15T10:30:00.123Z", "level": "INFO", "message": "to\\"rn'
    log_file.write_text(f"{torn}\n")
    write("whole", 1)
    shipper.start()
    wait_until(lambda: len(receiver.arrived) == 4, PATIENCE)
    first, *others = receiver.arrived
    assert receiver.refused == []
    assert (first.line["level"], first.line["message"]) == ("ERROR", torn)
    assert [entry.line for entry in others] == [json.loads(line) for line in log_file.read_text().splitlines()[1:]]


@pytest.mark.parametrize(("is_active", "rotates"), [("true", True), ("false", False)])
def test_the_log_is_not_rotated_while_nobody_reads_it(
    tmp_path: Path, log_file: Path, logrotate: list[str], is_active: str, rotates: bool
) -> None:
    (guard,) = re.findall(r"```\n( {4}prerotate.*?endscript)\n```", TEXT, re.DOTALL)
    config = Path(logrotate[-1])
    config.write_text(config.read_text().replace("\n}", f"\n{guard}\n}}"))
    stand_in = tmp_path / "bin" / "systemctl"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\n[ "$*" = "is-active --quiet syslog-ng" ] && {is_active}\n')
    stand_in.chmod(0o755)
    write("some", 1)
    environment = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    subprocess.run(logrotate, capture_output=True, env=environment)
    assert (tmp_path / "cloud.log.1").exists() is rotates
    assert len(written(tmp_path)) == 3
