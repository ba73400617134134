"""Where lines go: a file that many share, the standard streams, and the format for people that is meant for these."""

from __future__ import annotations

import inspect
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from cloudtrain_site.http_client import set_correlation_id
from cloudtrain_site.structured_logging import configure_structured_logging, get_logger
from tests.cloudtrain_site.conftest import Lines, run_python, this_line

logger = get_logger("simpletuner.cloud.jobs")


def write_lines(path: Path, count: int, name: str) -> None:
    configure_structured_logging(log_file=path)
    sys.stdout = None
    for number in range(count):
        logger.info("x" * (number % 500), name=name, number=number)


FULL_DISK = """
import resource, sys
from cloudtrain_site.structured_logging import get_logger, init_from_env
init_from_env()
sys.stdout = None
logger = get_logger("simpletuner.cloud.jobs")
logger.info("Before")
# A process that may write no larger files meets what a full disk does: a part of a line, and then an error.
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300, most))
logger.info("Torn"), logger.info("Lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
logger.info("After"), logger.info("After that")
"""


class TestFile:
    """One file for many processes and for logrotate."""

    def test_lines_of_several_processes_stay_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "shared.log"
        workers = [get_context("fork").Process(target=write_lines, args=(path, 1000, f"p{n}")) for n in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = {(line["extra"]["name"], line["extra"]["number"]) for line in lines}
        assert len(lines) == len(found) == 4000

    @pytest.mark.parametrize("rotate", [lambda path: path.rename(f"{path}.1"), Path.unlink], ids=["moved", "removed"])
    def test_a_new_file_is_begun_when_the_old_one_is_gone(
        self, log_file: Path, log_lines: Lines, rotate: Callable[[Path], object]
    ) -> None:
        logger.info("Before")
        rotate(log_file)
        logger.info("After")
        assert [line["message"] for line in log_lines()] == ["After"]

    def test_it_follows_a_file_that_logrotate_has_put_in_its_place(self, log_file: Path, log_lines: Lines) -> None:
        logger.info("Before")
        log_file.rename(f"{log_file}.1")
        log_file.touch()
        logger.info("After")
        assert [line["message"] for line in log_lines()] == ["After"]

    def test_a_truncated_file_is_written_from_its_start(self, log_file: Path, log_lines: Lines) -> None:
        logger.info("Before")
        os.truncate(log_file, 0)
        logger.info("After")
        assert [line["message"] for line in log_lines()] == ["After"]

    def test_a_folder_that_vanishes_costs_lines_and_nothing_else(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], log_file: Path
    ) -> None:
        folder = tmp_path / "logs"
        folder.mkdir()
        configure_structured_logging(log_file=folder / "cloud.log")
        logger.info("Before")
        (folder / "cloud.log").unlink()
        folder.rmdir()
        logger.info("Lost in the file")
        logger.info("Lost too")
        assert capsys.readouterr().err.count("Log lines are being lost") == 1
        folder.mkdir()
        logger.info("After")
        assert len((folder / "cloud.log").read_text().splitlines()) == 1

    def test_a_line_that_a_full_disk_has_torn_costs_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "cloud.log"
        done = run_python(FULL_DISK, SIMPLETUNER_LOG_FILE=str(path))
        whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
        assert done.stderr.count("Log lines are being lost") == 1
        assert [json.loads(line)["message"] for line in whole] == ["Before", "After", "After that"]
        assert "" not in path.read_text().splitlines()

    def test_a_named_pipe_whose_reader_comes_back_gets_its_lines(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], log_file: Path
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        configure_structured_logging(log_file=pipe)
        os.close(reader)
        logger.info("Lost")
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        logger.info("After")
        logger.info("After that")
        written = os.read(reader, 65536).decode()
        os.close(reader)
        assert [json.loads(line)["message"] for line in written.split("\n") if line] == ["After", "After that"]
        assert capsys.readouterr().err.count("Log lines are being lost") == 1

    def test_it_is_not_readable_by_everybody(self, log_file: Path) -> None:
        assert log_file.stat().st_mode & 0o007 == 0

    def test_a_process_without_a_standard_output_is_fine(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_lines: Lines
    ) -> None:
        monkeypatch.setattr(sys, "stdout", None)
        logger.info("Hello")
        assert len(log_lines()) == 1
        assert capsys.readouterr().err == ""

    def test_an_ascii_terminal_gets_every_line(self, monkeypatch: pytest.MonkeyPatch, log_file: Path) -> None:
        written = io.BytesIO()
        configure_structured_logging(json_output=False)
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        logger.info("é")
        assert rb"jobs: \xe9 [" in written.getvalue()


class TestText:
    """The format for people."""

    @pytest.fixture
    def text_log(self, tmp_path: Path, log_file: Path) -> Path:
        path = tmp_path / "text.log"
        configure_structured_logging(json_output=False, log_file=path)
        return path

    def test_it_says_the_same_on_one_line(self, text_log: Path) -> None:
        set_correlation_id("abc123")
        logger.info("Job submitted", job_id="j1", note="two words", hf_token="MARK")
        line = this_line() - 1
        pattern = (
            r"\S+Z INFO     simpletuner.cloud.jobs: Job submitted job_id=j1 note=\"two words\" hf_token=\*\*\* "
            rf"\[abc123\] \(test_handlers.py:{line} test_it_says_the_same_on_one_line\)\n"
        )
        assert re.fullmatch(pattern, text_log.read_text())

    def test_an_id_that_is_no_text_and_a_level_of_its_own_are_written(self, text_log: Path) -> None:
        logging.addLevelName(25, "NOTICE\nforged")
        logging.getLogger("a.library").log(25, "Hello", extra={"correlation_id": 5})
        assert re.fullmatch(r"\S+Z INFO     a\.library: Hello \[5\] .*\n", text_log.read_text())

    @pytest.mark.parametrize("end", ["\n", "\r", "\x1b[2J", "\x85", "\u2028", "\u202e", "\x00"])
    def test_nothing_steers_the_terminal_or_forges_a_line(self, text_log: Path, end: str) -> None:
        logger.info(f"Hello{end}forged", **{f"key{end}": f"value{end}"})
        assert end not in text_log.read_text().removesuffix("\n")

    def test_a_traceback_is_indented_below_its_line(self, text_log: Path) -> None:
        try:
            raise ValueError("broken\n2024-01-15T10:30:00.000Z INFO     forged")
        except ValueError:
            logger.exception("Failed")
        first, *below = text_log.read_text().splitlines()
        assert "Failed" in first
        assert below[0] == "    Traceback (most recent call last):"
        assert all(line.startswith("    ") for line in below)

    def test_a_file_has_no_colours_and_neither_has_a_pipe(
        self, text_log: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        logger.error("Failed")
        assert "\x1b" not in capsys.readouterr().out + text_log.read_text()

    def test_a_terminal_has_colours_and_readable_tracebacks(self) -> None:
        inner = """
            from cloudtrain_site.structured_logging import *
            init_from_env()
            get_logger("a").error("Hello")
            raise ValueError("token=MARK")
        """
        program = f"import pty, sys; pty.spawn([sys.executable, '-c', {inspect.cleandoc(inner)!r}])"
        output = run_python(program, SIMPLETUNER_LOG_FORMAT="text", NO_COLOR="").stdout
        assert "\x1b[31mERROR" in output
        assert "\nValueError: token=***\n" in output
        assert "MARK" not in output
