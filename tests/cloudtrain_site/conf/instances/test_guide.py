"""What docs/clusters.md has an operator write into the configuration file is read as it stands."""

from __future__ import annotations

import re

from cloudtrain_site.conf.places import BASE_DIR
from cloudtrain_site.conf.providers import RayInstance, SlurmInstance
from cloudtrain_site.enterprise import get_enterprise_config
from tests.configuration import WriteConfig

BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (BASE_DIR / "docs/clusters.md").read_text(), re.M | re.S)
(RAY, SLURM, SEVERAL_NODES) = BLOCKS


def test_the_ray_cluster(write_config: WriteConfig) -> None:
    write_config(RAY)
    ray = get_enterprise_config().instances["ray-studio"]
    assert isinstance(ray, RayInstance)
    assert [profile.gpus for profile in ray.hardware.values()] == [1, 8]


def test_the_slurm_cluster_with_a_command_for_several_nodes(write_config: WriteConfig) -> None:
    write_config(re.sub(r"^    command:.*\n", SEVERAL_NODES.replace("\\", r"\\"), SLURM, flags=re.M))
    slurm = get_enterprise_config().instances["slurm-lab"]
    assert isinstance(slurm, SlurmInstance)
    assert slurm.hardware["2x h100-x8"].nodes == 2
    shell, _, line, *arguments = slurm.command
    assert (shell, arguments) == ("bash", ["train", "{config}", "{output_dir}"])
    assert line.endswith('--config "$1" --output-dir "$2"')
