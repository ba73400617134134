"""Slurm's answers are cut off, its daemons and our workers are killed: each job still trains once and ends as it did.

`CLOUDTRAIN_STORM_JOBS=100` makes it the real thing: a kill every ten seconds until all have ended, no minute skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cloudtrain_site.process_stacks import Stack, migrated  # noqa: F401
from tests.slurm import need_slurm
from tests.slurm_storm import running_slurm_storm

JOBS = int(os.environ.get("CLOUDTRAIN_STORM_JOBS", "0"))
FEW = 20


@pytest.mark.long
@pytest.mark.timeout(3600 if JOBS else 240)
def test_each_job_trains_once_and_ends_as_its_runner_says(tmp_path: Path, migrated: Stack) -> None:  # noqa: F811
    need_slurm()
    with running_slurm_storm(tmp_path, migrated, kill_seconds=10 if JOBS else 4, in_a_hurry=not JOBS) as storm:
        storm.proxy.is_calm = False
        storm.submit(JOBS or FEW)
        storm.pass_over(3500 if JOBS else 200, kills=None if JOBS else 3)
        assert storm.verdicts() == []
        assert storm.kills > 0
        assert storm.proxy.cuts > 0
