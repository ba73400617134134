"""The package, installed as deploy/Containerfile says in a root without our checkout, and started by its CMD."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloudtrain_site import __version__
from tests.container_root import Stage, build, need_what_it_needs
from tests.servers import free_port
from tests.site import QUICK, TRAINING_SECONDS
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.sqlite, pytest.mark.timeout(600)]

#: A first start migrates; on an idle machine it takes eight seconds.
START_SECONDS = 90.0


@dataclass
class Site:
    """The container: what is installed in it, its volume, and where it listens."""

    stage: Stage
    folder: Path
    port: int

    @property
    def places(self) -> dict[str, Path]:
        (volume,) = self.stage.volumes
        return {volume: self.folder / "data", "/tmp": self.folder / "tmp"}

    def command(self, words: list[str]) -> list[str]:
        """The words, with a port of our own in place of the container's."""
        environment = {**self.stage.environment, "ALLOWED_HOSTS": "train.example.org", "SECURE_SSL_REDIRECT": "true"}
        own = [word.replace("8001", str(self.port)) for word in words]
        return self.stage.inside(own, places=self.places, environment=environment)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(list(words)), capture_output=True, text=True, timeout=60)

    @contextmanager
    def up(self) -> Iterator[httpx.Client]:
        """Its CMD, ready; afterwards it is asked to end, as process 1 of the container, and does."""
        with (self.folder / "log").open("wb") as log:
            up = subprocess.Popen(self.command(self.stage.command), stdout=log, stderr=log)
        try:
            headers = {"Host": "train.example.org", "X-Forwarded-Proto": "https"}
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, headers=headers) as client:
                wait_until(lambda: self._is_ready(client, up), START_SECONDS)
                yield client
            (first,) = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
            assert up.wait(20) == 0
            assert list((self.folder / "tmp").iterdir()) == []
        finally:
            up.kill()
            up.wait(10)

    def _is_ready(self, client: httpx.Client, up: subprocess.Popen[bytes]) -> bool:
        assert up.poll() is None, (self.folder / "log").read_text()
        try:
            return client.get("/api/cloud/health/ready").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    need_what_it_needs()
    folder = tmp_path_factory.mktemp("container")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o011)  # its user gets there
    return build(folder)


@pytest.fixture(scope="module")
def container(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(stage, tmp_path_factory.mktemp("volume"), free_port())
    for place in site.places.values():
        place.mkdir()
        os.chown(place, stage.user, stage.user)
    return site


@pytest.fixture(scope="module")
def site(container: Site) -> Iterator[httpx.Client]:
    with container.up() as client:
        yield client


def test_it_needs_nothing_but_itself(stage: Stage, tmp_path: Path) -> None:
    os.chown(tmp_path, stage.user, stage.user)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        """From a folder of the operator's, with no setting."""
        own = {"PATH": "/usr/bin:/bin"}
        bash = ["bash", "-c", 'exec "$0" "$@"', "/opt/cloudtrain/bin/cloudtrain", *words]
        words_inside = stage.inside(bash, environment=own, folder="/here", places={"/here": tmp_path})
        return subprocess.run(words_inside, capture_output=True, text=True, timeout=60)

    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cloudtrain {__version__}\n", "")
    assert list(tmp_path.iterdir()) == []
    done = run("create_api_key", "alice")
    assert done.returncode == 1
    assert "Run first: cloudtrain migrate" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["var"]


def test_a_container_that_does_not_run_is_not_healthy(container: Site) -> None:
    assert (
        "Connection refused" in Site(container.stage, container.folder, free_port()).run(*container.stage.health).stderr
    )


def test_an_empty_volume_becomes_a_site_with_styles(container: Site, site: httpx.Client) -> None:
    healthy = container.run(*container.stage.health)
    assert healthy.returncode == 0, healthy.stderr
    page = site.get("/login")
    assert page.status_code == 200
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert sheets
    for address in sheets:
        sheet = site.get(address)
        assert (sheet.status_code, sheet.headers["Content-Type"].partition(";")[0]) == (200, "text/css")
    assert site.get("/admin/login/").headers["Location"].startswith("/login")  # the one door


def test_a_training_ends_in_it(container: Site, site: httpx.Client) -> None:
    made = container.run("cloudtrain", "add_member", "bob", "acme", "lead", "--create", "--password", "a-long-password")
    assert made.returncode == 0, made.stderr
    key = container.run("cloudtrain", "create_api_key", "bob").stdout.strip()
    site.headers["Authorization"] = f"Bearer {key}"
    example = container.stage.root / "opt/cloudtrain/share/cloudtrain/examples/flux-lora-quick.json"
    job_id = _submit(site, {**json.loads(example.read_text()), **QUICK})
    wait_until(lambda: _status(site, job_id) in ("completed", "failed", "cancelled"), 2 * TRAINING_SECONDS)
    assert _status(site, job_id) == "completed"


def _submit(site: httpx.Client, config: dict[str, Any]) -> str:
    answer = site.post("/api/cloud/jobs/submit", json={"config": config})
    assert (answer.status_code, answer.json().get("requires_approval")) == (201, False), answer.text
    return str(answer.json()["job_id"])


def _status(site: httpx.Client, job_id: str) -> str:
    return str(site.get(f"/api/cloud/jobs/{job_id}").json()["job"]["status"])
