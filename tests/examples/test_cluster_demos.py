"""The demo on real clusters, as `make demo PROVIDER=...` runs it: it ends well, and leaves no process behind."""

from __future__ import annotations

import os
import signal
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

COMMAND = (sys.executable, "-m", "examples.demo")
#: Seconds: a demo trains for half a minute.
LIMIT = 300


def environment_of(provider: str, folder: Path) -> dict[str, str]:
    own = {"DEMO_PROVIDER": provider, "DEMO_PORT": str(free_port()), "DEMO_DATA": str(folder)}
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | own


def run_demo(provider: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = environment_of(provider, folder) | {"DEMO_EXIT": "1"}
    return subprocess.run(COMMAND, cwd=demo.ROOT, env=environment, capture_output=True, text=True, timeout=280)


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


@pytest.mark.long
@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_on_the_way_leaves_nothing(number: int, tmp_path: Path) -> None:
    need_slurm()
    folder = tmp_path / "demo"
    process = subprocess.Popen(
        COMMAND,
        cwd=demo.ROOT,
        env=environment_of("slurm", folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: (folder / "slurm" / "run" / "n2.pid").exists() and (folder / "up.out").exists(), 60)
    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: not processes_of(tmp_path))
    assert not (folder / "slurm").exists()


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
