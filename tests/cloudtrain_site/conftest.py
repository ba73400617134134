"""A log of the test's own, read back as objects."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.http_client import clear_correlation_id
from cloudtrain_site.structured_logging import configure_structured_logging, init_from_env

ROOT = Path(__file__).resolve().parent.parent.parent
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """A log file that takes every line, from DEBUG up, while the test runs."""
    path = tmp_path / "cloud.log"
    configure_structured_logging(level="DEBUG", log_file=path)
    yield path
    clear_correlation_id()
    init_from_env()


@pytest.fixture
def log_lines(log_file: Path) -> Lines:
    """What is in the log by now."""
    return lambda: [json.loads(line) for line in log_file.read_text().splitlines()]


def this_line() -> int:
    """The number of the line that calls it."""
    frame = inspect.currentframe()
    assert frame and frame.f_back
    return frame.f_back.f_lineno


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in a process of its own, with the default logging but for what `environment` says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIMPLETUNER_LOG")}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env={**kept, **environment}
    )
