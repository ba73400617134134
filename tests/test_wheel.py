"""The wheel, installed by pip into a virtual environment of its own and started in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloudtrain_site import __version__
from tests.servers import free_port, missing
from tests.site import QUICK, TRAINING_SECONDS
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.sqlite, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parent.parent
#: A first start migrates; on an idle machine it takes eight seconds.
START_SECONDS = 90.0


def pip(python: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([python, "-m", "pip", *arguments], capture_output=True, text=True, env=environment)


@dataclass
class Installation:
    """What pip installed, and a folder for each place that it might write to."""

    venv: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the checkout: no import path, no setting, another home."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    @property
    def command(self) -> str:
        return str(self.venv / "bin" / "cloudtrain")

    @property
    def here(self) -> Path:
        """The operator's working folder."""
        return self.folder / "here"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *arguments], cwd=self.here, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def installed_files(self) -> dict[Path, int]:
        """Every file below the virtual environment, and when it was written."""
        return {path: path.stat().st_mtime_ns for path in self.venv.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    if pip(sys.executable, "download", "--no-deps", "--dest", str(folder / "index"), "hatchling").returncode:
        missing("A package index")
    built = pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("cloudtrain-*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pins = str(ROOT / "requirements.txt")
    done = pip(folder / "venv" / "bin" / "python", "install", "--constraint", pins, str(wheel))
    assert done.returncode == 0, done.stderr
    return folder / "venv"


@pytest.fixture
def installation(venv: Path, tmp_path: Path) -> Installation:
    for name in ("home", "tmp", "here"):
        (tmp_path / name).mkdir()
    return Installation(venv, tmp_path)


@pytest.fixture
def site(installation: Installation) -> Iterator[httpx.Client]:
    """`cloudtrain up` in the empty folder, ready; afterwards it is asked to end and does."""
    port = free_port()
    with (installation.folder / "log").open("wb") as log:
        up = subprocess.Popen(
            [installation.command, "up", "--port", str(port)],
            cwd=installation.here,
            env=installation.environment,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until(lambda: _is_ready(client, up, installation), START_SECONDS)
            yield client
        up.terminate()
        assert up.wait(20) == 0
        assert list((installation.folder / "tmp").iterdir()) == []
    finally:
        up.kill()
        up.wait(10)


def _is_ready(client: httpx.Client, up: subprocess.Popen[bytes], installation: Installation) -> bool:
    assert up.poll() is None, (installation.folder / "log").read_text()
    try:
        return client.get("/api/cloud/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_it_needs_nothing_but_itself(installation: Installation) -> None:
    before = installation.installed_files()
    done = installation.run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cloudtrain {__version__}\n", "")
    assert list(installation.here.iterdir()) == []
    done = installation.run("create_api_key", "alice")
    assert done.returncode == 1
    assert "Run first: cloudtrain migrate" in done.stderr
    assert installation.installed_files() == before


def test_an_empty_folder_becomes_a_site_with_styles(installation: Installation, site: httpx.Client) -> None:
    page = site.get("/login")
    assert page.status_code == 200
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert sheets
    for address in sheets:
        sheet = site.get(address)
        assert (sheet.status_code, sheet.headers["Content-Type"].partition(";")[0]) == (200, "text/css")
    assert site.get("/admin/login/").headers["Location"].startswith("/login")  # the one door


def test_a_training_ends_and_nothing_is_written_elsewhere(installation: Installation, site: httpx.Client) -> None:
    before = installation.installed_files()
    made = installation.run("add_member", "bob", "acme", "lead", "--create", "--password", "a-long-password")
    assert made.returncode == 0, made.stderr
    site.headers["Authorization"] = f"Bearer {installation.run('create_api_key', 'bob').stdout.strip()}"
    example = installation.venv / "share" / "cloudtrain" / "examples" / "flux-lora-quick.json"
    job_id = _submit(site, {**json.loads(example.read_text()), **QUICK})
    wait_until(lambda: _status(site, job_id) in ("completed", "failed", "cancelled"), 2 * TRAINING_SECONDS)
    assert _status(site, job_id) == "completed"
    assert [path.name for path in installation.here.iterdir()] == ["var"]
    assert list((installation.folder / "home").iterdir()) == []
    assert installation.installed_files() == before


def _submit(site: httpx.Client, config: dict[str, Any]) -> str:
    answer = site.post("/api/cloud/jobs/submit", json={"config": config})
    assert (answer.status_code, answer.json().get("requires_approval")) == (201, False), answer.text
    return str(answer.json()["job_id"])


def _status(site: httpx.Client, job_id: str) -> str:
    return str(site.get(f"/api/cloud/jobs/{job_id}").json()["job"]["status"])
