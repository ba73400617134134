"""Replicate falters, webhooks get lost, workers are killed: each job still is one prediction, and ends as that does.

`CLOUDTRAIN_STORM_JOBS=200` makes it the real thing: a kill every ten seconds until all have ended, no minute skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cloudtrain_site.process_stacks import Stack, migrated  # noqa: F401
from tests.fault_storm import FAULTS, running_storm

JOBS = int(os.environ.get("CLOUDTRAIN_STORM_JOBS", "0"))
FEW = 20


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600 if JOBS else 120)
def test_each_job_is_one_prediction_and_ends_as_it_does(tmp_path: Path, migrated: Stack) -> None:  # noqa: F811
    with running_storm(tmp_path, migrated, kill_seconds=10 if JOBS else 3, in_a_hurry=not JOBS) as storm:
        storm.fake.spoil(storm=FAULTS, seed=4)
        storm.submit(JOBS or FEW)
        storm.pass_over(3500 if JOBS else 90, kills=None if JOBS else 1)
        assert storm.verdicts() == []
        assert storm.kills > 0
        assert len(storm.fake.predictions()) == (JOBS or FEW)
