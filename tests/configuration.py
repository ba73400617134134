"""A configuration file for the tests, in force while the test runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain_site.enterprise import _Memory

WriteConfig = Callable[[str], Path]


@pytest.fixture
def write_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteConfig:
    """Write the file in force. Backdated, since a file of this very moment is not cached."""
    path = tmp_path / "enterprise.yaml"
    monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", str(path))
    monkeypatch.delenv("SIMPLETUNER_JOB_POLL_INTERVAL", raising=False)
    for name in ("last", "in_force", "complaint"):
        monkeypatch.setattr(_Memory, name, None)
    clock = iter(range(1_700_000_000, 1_800_000_000))

    def write_text(text: str) -> Path:
        path.write_text(text)
        os.utime(path, (second := next(clock), second))
        return path

    return write_text
