"""The real logrotate, with the configuration of docs/log-shipping.md, on a file that processes write all the while."""

from __future__ import annotations

import grp
import gzip
import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from cloudtrain_site.structured_logging import configure_structured_logging, get_logger
from tests.cloudtrain_site.conftest import ROOT
from tests.servers import find_binary, missing
from tests.wait import wait_until

ROTATIONS = 4
WRITERS = 3


def write_until(stop: Event, path: Path, name: int) -> None:
    """What a process of ours does with the file, as fast as it can."""
    configure_structured_logging(log_file=path)
    sys.stdout = None
    logger = get_logger("simpletuner.cloud.jobs")
    number = 0
    while not stop.is_set():
        logger.info("x" * (number % 500), name=name, number=number)
        number += 1
    logger.info("Ended", name=name, number=number)


@contextmanager
def writers(path: Path) -> Iterator[None]:
    """Several of them, for the block."""
    context = get_context("fork")
    stop = context.Event()
    running = [context.Process(target=write_until, args=(stop, path, name)) for name in range(WRITERS)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in running:
            process.join(20)
    assert [process.exitcode for process in running] == [0] * WRITERS


@pytest.fixture
def logrotate(tmp_path: Path) -> list[str]:
    """The command that rotates `cloud.log` in the test's folder now, as the document's configuration has it."""
    binary = find_binary("logrotate") or find_binary("/usr/sbin/logrotate")
    if binary is None:
        missing("logrotate")
    text = (ROOT / "docs" / "log-shipping.md").read_text()
    (block,) = re.findall(r"```\n(/var/log/simpletuner/cloud.log \{.*?\})\n```", text, re.DOTALL)
    owner = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    config = tmp_path / "logrotate.conf"
    moved = block.replace("/var/log/simpletuner/", f"{tmp_path}/").replace("cloudtrain cloudtrain", owner)
    config.write_text(f"{moved}\n")
    config.chmod(0o644)
    return [str(binary), "--force", "--state", str(tmp_path / "state"), str(config)]


def written_to(folder: Path) -> list[str]:
    """The lines of the log and of all that it was rotated into."""
    files = [path for path in folder.glob("cloud.log*") if path.suffix != ".gz"]
    packed = [gzip.decompress(path.read_bytes()).decode() for path in folder.glob("cloud.log*.gz")]
    assert len(files) == 2, "the log and, by delaycompress, the one before it"
    assert len(packed) == ROTATIONS - 1
    return [line for text in [*(path.read_text() for path in files), *packed] for line in text.splitlines()]


def test_no_line_is_lost_or_torn_while_logrotate_rotates(tmp_path: Path, logrotate: list[str]) -> None:
    log = tmp_path / "cloud.log"
    with writers(log):
        for _ in range(ROTATIONS):
            wait_until(lambda: log.exists() and log.stat().st_size > 20_000)
            subprocess.run(logrotate, check=True, capture_output=True)
        wait_until(lambda: log.stat().st_size > 20_000)
    entries = [json.loads(line) for line in written_to(tmp_path)]
    numbers: dict[int, list[int]] = {name: [] for name in range(WRITERS)}
    for entry in entries:
        numbers[entry["extra"]["name"]].append(entry["extra"]["number"])
    assert all(sorted(found) == list(range(len(found))) for found in numbers.values())
    assert [entry["message"] for entry in entries].count("Ended") == WRITERS
    assert log.stat().st_mode & 0o777 == 0o640
