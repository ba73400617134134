"""The units of deploy/systemd as systemd itself reads them, and the loops and settings that the guides name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands

from cloudtrain_site.conf.variables import VARIABLES
from cloudtrain_site.extensions import loops
from tests.cloudtrain_site.conftest import ROOT
from tests.servers import find_binary, missing

TEXT = (ROOT / "docs" / "background-tasks.md").read_text()
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
PROGRAMS = "/srv/cloudtrain/.venv/bin/"


def systemd_analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    binary = find_binary("systemd-analyze")
    if binary is None:
        missing("systemd-analyze")
    return subprocess.run([str(binary), *words], capture_output=True, text=True)


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    paths = []
    for unit in UNITS:
        text = unit.read_text()
        assert unit.suffix == ".timer" or PROGRAMS in text
        paths.append(tmp_path / unit.name)
        paths[-1].write_text(re.sub(f"{PROGRAMS}(cloudtrain|python)", sys.executable, text))
    done = systemd_analyze("verify", "--man=no", *paths)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("unit", "exposure"), [("web", 20), ("backup", 20), ("background", 57), ("", 57)])
def test_a_unit_forbids_what_it_does_not_need(unit: str, exposure: int) -> None:
    """Exposure is systemd's own figure, times ten. Units that train need devices, namespaces and every system call."""
    path = ROOT / "deploy" / "systemd" / f"cloudtrain-{unit}.service".replace("-.", ".")
    done = systemd_analyze("security", "--offline=true", "--no-pager", f"--threshold={exposure}", path)
    assert done.returncode == 0, done.stdout


def test_a_checkout_starts_the_same_commands() -> None:
    """By the guide's own sed; each command is one that there is."""
    (script,) = re.findall(r"sed -i '(.*)' /etc/systemd/system/cloudtrain\*\.service", DEPLOYING)
    services = [unit for unit in UNITS if unit.suffix == ".service"]
    edited = subprocess.run(["sed", script, *services], check=True, capture_output=True, text=True).stdout
    started = [line.split()[2] for line in re.findall(rf"^ExecStart={PROGRAMS}(.*)$", edited, re.MULTILINE)]
    assert len(started) == len(services)
    assert set(started) - {"cloudtrain_site.web"} <= get_commands().keys()
    assert "bin/cloudtrain" not in edited


@pytest.mark.parametrize("unit", ["cloudtrain.service", "cloudtrain-background.service"])
def test_a_training_outlives_a_restart(unit: str) -> None:
    lines = (ROOT / "deploy" / "systemd" / unit).read_text().splitlines()
    assert "KillMode=process" in lines
    assert not [line for line in lines if line.startswith(("PrivateTmp", "PrivateDevices", "RestrictNamespaces"))]


@pytest.mark.parametrize("loop", list(loops))
def test_the_guide_names_every_loop(loop: str) -> None:
    assert f"| {loop} |" in TEXT


def test_the_guide_sets_what_there_is_to_set() -> None:
    named = set(re.findall(r"^ {4}([A-Z_]+)=", DEPLOYING, re.MULTILINE))
    assert named
    assert named <= VARIABLES.keys()
