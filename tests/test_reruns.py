"""What `make test` says of tests that failed at first and passed when they were run again alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HOME = Path(__file__).parent.parent
#: Nothing of the run that this is a part of, nor of its make.
ALONE = {"PATH": "/usr/bin:/bin"}
TESTS = """
from pathlib import Path

def test_sometimes():
    flag = Path(__file__).with_name("flag")
    was_there = flag.exists()
    flag.touch()
    assert was_there

def test_never():
    assert False

def test_always():
    pass
"""


def run_pytest(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), "-c", str(folder / "pytest.ini")]
    command += ["-p", "no:django", "-p", "no:xdist", *options]
    environment = {**ALONE, "PYTHONPATH": str(HOME)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_who_passes_only_alone_is_called_flaky(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    run_pytest(tmp_path)
    again = run_pytest(tmp_path, "--last-failed", "-p", "tests.reruns")
    line = "flaky: test_some.py::test_sometimes (failed at first, passed alone; sqlite)"
    assert [text for text in again.splitlines() if text.startswith("flaky:")] == [line]
    assert (tmp_path / ".pytest_cache" / "flaky.txt").read_text() == f"{line}\n"


def test_the_makefile_shows_them_at_its_end() -> None:
    command = ["make", "--dry-run", "--old-file=install-dev", "test", "long"]
    lines = subprocess.run(command, cwd=HOME, env=ALONE, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len([line for line in lines if "-p tests.reruns" in line]) == 4
    assert [line for line in lines if "flaky.txt" in line][-1] == lines[-1]
