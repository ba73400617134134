"""The jobs of a pass made ready for their providers together: what is plain about them costs little."""

from __future__ import annotations

from collections.abc import Sequence

from jobs import lifecycle
from jobs.models import Job
from queueing import guards
from queueing.models import QueueEntry


def prepare(entries: Sequence[QueueEntry]) -> dict[int, Job]:
    """The jobs of claimed entries as they are to be submitted, their markers stored, by entry.

    Left out, for a look at each: those that somebody has a say about, have a dataset, were tried before, or may not go.
    """
    jobs = Job.objects.select_related("organization").in_bulk([entry.job_id for entry in entries])
    concerned = guards.concerned(list(jobs))
    begun = lifecycle.begin_submissions([job for job in jobs.values() if _is_plain(job) and job.pk not in concerned])
    return {entry.pk: jobs[entry.job_id] for entry in entries if entry.job_id in begun}


def _is_plain(job: Job) -> bool:
    return job.dataset_id is None and job.submission_marker is None
