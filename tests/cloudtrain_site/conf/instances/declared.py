"""Providers as the configuration file declares them, for the tests."""

from __future__ import annotations

import pytest

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.enterprise import EnterpriseConfig, get_enterprise_config
from tests.configuration import WriteConfig

RAY = """
  ray-studio:
    kind: ray
    label: The studio's Ray
    address: http://10.0.0.5:8265/
    token: ${RAY_STUDIO_TOKEN}
    command: ["{python}", "train.py", "--config", "{config}"]
    python: /opt/venv/bin/python
    shared_folder: /mnt/shared/cloudtrain
    grace_seconds: 60
    max_running: 4
    hardware:
      small: {}
      h100:
        {gpus: 1, cpus: 8, memory_mb: 64000, resources: {h100: 1, "accelerator_type:H100": 0.001}, cost_per_second: 0}
"""
SLURM = """
  slurm-lab:
    kind: slurm
    address: https://slurm.example.org:6820
    user: trainer
    key_file: /etc/cloudtrain/jwt_hs256.key
    shared_folder: /mnt/shared
    account: vision
    qos: long
    command: [train]
    hardware:
      2x h100-x8:
        {nodes: 2, gpus: 8, gpu_type: h100, partition: "gpu,big", time_limit_minutes: 1440, cost_per_second: 0.0115}
"""
REPLICATE = """
  replicate-lab:
    kind: replicate
    token_file: /run/secrets/replicate
"""
SECRET = "t0p-secret-value"


def read(write_config: WriteConfig, providers: str) -> EnterpriseConfig:
    write_config(f"providers:{providers}")
    return get_enterprise_config()


def refusal(write_config: WriteConfig, providers: str) -> str:
    """The sentence for a file with this in its `providers:`, without its path."""
    path = write_config(f"providers:{providers}")
    with pytest.raises(ConfigurationError) as caught:
        get_enterprise_config()
    return str(caught.value).removeprefix(f"{path}, ")
