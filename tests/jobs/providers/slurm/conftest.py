from __future__ import annotations

from tests.slurm import slurm, slurm_cluster  # noqa: F401
