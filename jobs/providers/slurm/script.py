"""The batch script of a training, and the files that it begins with.

The script uses nothing but bash. It begins with what may be wrong on a node: each fault has an exit code of its own,
since a node that doesn't see the shared folder has no other way to tell.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from cloudtrain_site.conf.providers import HardwareProfile, SlurmInstance
from jobs.providers.base import TrainingSpec
from jobs.providers.clusters.order import config_files, run_order
from jobs.providers.runner import ARCHIVE_NAME, RUN_NAME, archive
from jobs.providers.runner.node import CANT_WRITE, HAS_TRAINED
from jobs.providers.slurm.folder import SLURM_JOB, SLURM_LOG

#: The node doesn't see the job's folder.
NOT_SHARED = 90
#: The shell's own code for a program that it does not find.
NO_PYTHON = 127
#: Nothing else reaches a job: over REST it gets no environment of anybody's.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
}
FIRST_PORT, PORTS = 20_000, 10_000
#: Of trainings on several nodes: what accelerate and torchrun want to know on each.
RANKED = 'export NODE_RANK="$SLURM_NODEID"; exec "$@"'


def batch_script(folder: Path, python: str, profile: HardwareProfile) -> str:
    place, program = shlex.quote(str(folder)), shlex.quote(python)
    return f"""#!/bin/bash
cd {place} 2>/dev/null && [ -r {RUN_NAME} ] || exit {NOT_SHARED}
: 2>/dev/null >>{SLURM_LOG} || exit {CANT_WRITE}
exec >>{SLURM_LOG} 2>&1
# Two jobs of one marker: the second finds the file of the first, and doesn't train.
if ! (set -o noclobber; echo "$SLURM_JOB_ID" >{SLURM_JOB}) 2>/dev/null; then
  first=$(cat {SLURM_JOB})
  [ -n "$first" ] || exit {CANT_WRITE}
  [ "$first" = "$SLURM_JOB_ID" ] || exit {HAS_TRAINED}
fi
[ -n "$HOME" ] || HOME=~
export HOME USER="${{USER:-$(id -un)}}" LOGNAME="${{LOGNAME:-$(id -un)}}"
{_cluster_variables(profile)}command -v {program} >/dev/null || exit {NO_PYTHON}
exec {program} -I -S {ARCHIVE_NAME} {RUN_NAME}
"""


def _cluster_variables(profile: HardwareProfile) -> str:
    if profile.nodes == 1:
        return ""
    processes = profile.nodes * max(1, profile.gpus)
    return (
        f'export MASTER_ADDR="$SLURMD_NODENAME" MASTER_PORT=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))\n'
        f"export NNODES={profile.nodes} GPUS_PER_NODE={profile.gpus} WORLD_SIZE={processes}\n"
    )


def files(spec: TrainingSpec, instance: SlurmInstance, profile: HardwareProfile) -> Mapping[str, bytes]:
    """Return what the training's folder holds when it begins, by file name."""
    order = run_order(
        instance,
        spec,
        records_folder=None,
        output=None,
        dataset_folder=spec.dataset,
        log="records",
        marks=False,
        forwards=False,  # Slurm sends its signals to all processes of a job
    )
    order["command"] = [*_on_each_node(profile), *order["command"]]
    return {
        **config_files(spec, spec.dataset),
        RUN_NAME: json.dumps(order, ensure_ascii=False).encode("utf-8", "surrogatepass"),
        ARCHIVE_NAME: archive(),
    }


def _on_each_node(profile: HardwareProfile) -> list[str]:
    """Return the beginning of a command that starts the rest of it on each node. One that fails ends all."""
    if profile.nodes == 1:
        return []
    tasks = [f"--nodes={profile.nodes}", f"--ntasks={profile.nodes}", "--ntasks-per-node=1"]
    # srun doesn't take it over from the job since 22.05.
    tasks.append(f"--cpus-per-task={profile.cpus}")
    return ["srun", *tasks, "--kill-on-bad-exit=1", "--mpi=none", "bash", "-c", RANKED, "cloudtrain"]
