"""docs/background-tasks.md and docs/deploying.md: units as systemd itself reads them, loops, and settings."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cloudtrain_site.conf.variables import VARIABLES
from cloudtrain_site.extensions import loops
from tests.cloudtrain_site.conftest import ROOT
from tests.servers import find_binary, missing

TEXT = (ROOT / "docs" / "background-tasks.md").read_text()
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()
PYTHON = "/srv/cloudtrain/.venv/bin/python"


def unit_in(guide: str) -> str:
    (unit,) = re.findall(r"\n\n((?: {4}.*\n|\n)*? {4}WantedBy=.*\n)", guide)
    return textwrap.dedent(unit[unit.index("    [Unit]") :])


def background() -> str:
    return unit_in(TEXT)


def web() -> str:
    """The same, changed as the text below it says."""
    ((command, limit),) = re.findall(r"For the web server use `(ExecStart=[^`]+)` and add `([^`]+)`", TEXT)
    return re.sub("ExecStart=.*", f"{command}\n{limit}", background()).replace("KillMode=process\n", "")


@pytest.mark.parametrize("unit", [background(), web(), unit_in(DEPLOYING)], ids=["background", "web", "both"])
def test_systemd_understands_every_line(tmp_path: Path, unit: str) -> None:
    binary = find_binary("systemd-analyze")
    if binary is None:
        missing("systemd-analyze")
    path = tmp_path / "cloudtrain-background.service"
    assert PYTHON in unit
    path.write_text(unit.replace(PYTHON, sys.executable))
    done = subprocess.run([str(binary), "verify", "--man=no", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("loop", list(loops))
def test_the_guide_names_every_loop(loop: str) -> None:
    assert f"| {loop} |" in TEXT


def test_the_guide_sets_what_there_is_to_set() -> None:
    named = set(re.findall(r"^ {4}([A-Z_]+)=", DEPLOYING, re.MULTILINE))
    assert named
    assert named <= VARIABLES.keys()
