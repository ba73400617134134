"""What a provider's snapshot becomes in the columns of a job."""

from __future__ import annotations

import pytest

from jobs.models import Job
from jobs.providers.base import Snapshot
from jobs.providers.progress import Progress
from jobs.snapshot_fields import progress_fields
from jobs.statuses import JobStatus


@pytest.mark.parametrize(
    ("report", "kept"),
    [
        (Progress(step=330), (55.0, 330, 600)),
        (Progress(step=330, total=600, percent=55.0), (55.0, 330, 600)),
        (Progress(step=330, total=660, percent=50.0), (50.0, 330, 660)),
        (Progress(total=600, stage="Saving"), (54.0, 324, 600)),
        (Progress(total=1000), (54.0, None, 1000)),
        (Progress(percent=60.0, epoch=3, epochs=5), (60.0, None, 600)),
        (Progress(stage="Saving"), (54.0, 324, 600)),
    ],
)
def test_percentage_and_step_are_of_one_report(report: Progress, kept: tuple[float, int | None, int]) -> None:
    job = Job(progress=54.0, step=324, total_steps=600)
    fields = progress_fields(job, Snapshot("x-1", JobStatus.RUNNING, progress=report))
    columns = ("progress", "step", "total_steps")
    assert tuple(fields.get(name, getattr(job, name)) for name in columns) == kept
