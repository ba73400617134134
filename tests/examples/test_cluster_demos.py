"""The demo on real clusters, as `make demo PROVIDER=...` runs it: it ends well, and leaves no process behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples import demo
from examples.clusters.ray import processes_of
from tests.ray_cluster import ray_cluster
from tests.servers import free_port
from tests.slurm import need_slurm
from tests.wait import wait_until

#: Seconds: a demo trains for half a minute.
LIMIT = 300


def run_demo(provider: str, folder: Path) -> subprocess.CompletedProcess[str]:
    own = {"DEMO_PROVIDER": provider, "DEMO_EXIT": "1", "DEMO_PORT": str(free_port()), "DEMO_DATA": str(folder)}
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    command = [sys.executable, "-m", "examples.demo"]
    return subprocess.run(command, cwd=demo.ROOT, env={**kept, **own}, capture_output=True, text=True, timeout=280)


@pytest.mark.long
@pytest.mark.timeout(LIMIT)
def test_the_demo_on_slurm(tmp_path: Path) -> None:
    need_slurm()
    done = run_demo("slurm", tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it trains on Slurm" in done.stdout
    assert not (tmp_path / "demo" / "slurm").exists()
    wait_until(lambda: not processes_of(tmp_path))


@pytest.mark.long
@pytest.mark.timeout(LIMIT)
def test_the_demo_on_ray(tmp_path: Path) -> None:
    ray_cluster().stop()
    done = run_demo("ray", tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it trains on Ray" in done.stdout
    wait_until(lambda: not processes_of(tmp_path))


@pytest.mark.parametrize(("provider", "reason"), [("slurm", "Slurm could not be started: Slurm ("), ("ray", "Ray")])
def test_without_the_engine_a_sentence_tells_what_to_install(
    provider: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CLOUDTRAIN_TEST_RAY", str(tmp_path))
    monkeypatch.setattr("examples.clusters.slurm.PATH", str(tmp_path))
    monkeypatch.setattr("examples.clusters.ray.ROOT", tmp_path)
    monkeypatch.setattr(demo, "KIND", provider)
    with pytest.raises(demo.DemoFailedError, match="install") as failure:
        demo.start_cluster()
    assert str(failure.value).startswith(reason)


def test_a_provider_that_there_is_no_demo_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "KIND", "kubernetes")
    with pytest.raises(demo.DemoFailedError, match="one of local, replicate, slurm, ray"):
        demo.check_provider()
