"""What comes of the providers that the file declares."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain_site.conf.providers import HardwareProfile, RayInstance, ReplicateInstance, Secret, SlurmInstance
from cloudtrain_site.enterprise import get_enterprise_config
from tests.cloudtrain_site.conf.instances.declared import RAY, REPLICATE, SECRET, SLURM, read
from tests.configuration import WriteConfig


def test_a_ray_cluster(write_config: WriteConfig) -> None:
    h100 = HardwareProfile(
        *("h100", 1, 1),
        cpus=8,
        memory_mb=64000,
        resources={"h100": 1.0, "accelerator_type:H100": 0.001},
        cost_per_second=Decimal(0),
    )
    assert read(write_config, RAY).instances["ray-studio"] == RayInstance(
        name="ray-studio",
        label="The studio's Ray",
        address="http://10.0.0.5:8265",
        token=Secret(SECRET),
        command=("{python}", "train.py", "--config", "{config}"),
        hardware={"small": HardwareProfile("small"), "h100": h100},
        python="/opt/venv/bin/python",
        shared_folder=Path("/mnt/shared/cloudtrain"),
        grace_seconds=60,
        max_running=4,
    )


def test_a_slurm_cluster(write_config: WriteConfig) -> None:
    profile = HardwareProfile(
        *("2x h100-x8", 2, 8, "h100"),
        partition="gpu,big",
        time_limit_minutes=1440,
        cost_per_second=Decimal("0.0115"),
    )
    assert read(write_config, SLURM).instances["slurm-lab"] == SlurmInstance(
        name="slurm-lab",
        label="slurm-lab",
        address="https://slurm.example.org:6820",
        token=Secret(),
        command=("train",),
        hardware={"2x h100-x8": profile},
        shared_folder=Path("/mnt/shared"),
        user="trainer",
        key=Secret(file=Path("/etc/cloudtrain/jwt_hs256.key")),
        account="vision",
        qos="long",
    )


def test_an_account_at_replicate(write_config: WriteConfig) -> None:
    instance = ReplicateInstance("replicate-lab", "replicate-lab", Secret(file=Path("/run/secrets/replicate")))
    assert read(write_config, REPLICATE).instances == {"replicate-lab": instance}


def test_the_prices_of_an_account_at_replicate(write_config: WriteConfig) -> None:
    config = read(write_config, f"{REPLICATE}    cost_per_second: {{h100: 0.0015, h100-x2: 0.003}}\n")
    prices = config.instances["replicate-lab"].prices
    assert prices == {"h100": Decimal("0.0015"), "h100-x2": Decimal("0.003")}


def test_the_order_of_the_file_is_kept(write_config: WriteConfig) -> None:
    profiles = "\n".join(f"      p{number}: {{}}" for number in (9, 3, 7, 1))
    config = read(write_config, f"{SLURM}{profiles}{REPLICATE}{RAY}")
    slurm = config.instances["slurm-lab"]
    assert list(config.instances) == ["slurm-lab", "replicate-lab", "ray-studio"]
    assert isinstance(slurm, SlurmInstance)
    assert list(slurm.hardware) == ["2x h100-x8", "p9", "p3", "p7", "p1"]


def test_they_stand_beside_this_machine(write_config: WriteConfig) -> None:
    config = read(write_config, f"\n  local:\n    max_running: 3{REPLICATE}")
    assert (config.local.max_running, list(config.instances)) == (3, ["replicate-lab"])


def test_a_price_that_is_not_given_is_not_known(write_config: WriteConfig) -> None:
    ray = read(write_config, RAY).instances["ray-studio"]
    assert isinstance(ray, RayInstance)
    assert [profile.cost_per_second for profile in ray.hardware.values()] == [None, Decimal(0)]


def test_where_each_value_came_from_is_kept(write_config: WriteConfig) -> None:
    config = read(write_config, SLURM)
    path = config.path
    assert config.sources["providers.slurm-lab"] == f"{path}:2"
    assert config.sources["providers.slurm-lab.user"] == f"{path}:5"
    assert config.sources["providers.slurm-lab.hardware.2x h100-x8.gpus"] == f"{path}:13"


def test_a_variable_that_changes_is_noticed(write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(write_config, RAY).instances["ray-studio"].token.read() == SECRET
    monkeypatch.setenv("RAY_STUDIO_TOKEN", "another-secret")
    assert get_enterprise_config().instances["ray-studio"].token.read() == "another-secret"
