"""Whose job is it? Trainings of ours by their marker, jobs made at the cluster by number and time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from jobs.providers.base import DiscoveredTraining, Handle
from jobs.providers.slurm.answers import snapshot_of
from jobs.providers.slurm.shapes import SlurmJob

MARKER = re.compile(r"ct-[0-9a-f]{24}")
COMMENT_PREFIX = "cloudtrain:"
#: Of a job made elsewhere: Slurm's number and the second of its submission.
FOREIGN = re.compile(r"([0-9]{1,10})-([0-9]{1,12})")


def is_ours(handle: Handle) -> bool:
    return MARKER.fullmatch(handle.external_id) is not None


def comment_of(marker: str) -> str:
    return f"{COMMENT_PREFIX}{marker}"


def by_marker(jobs: Sequence[SlurmJob], user: str) -> Mapping[str, Sequence[SlurmJob]]:
    """Return the jobs that this site made for its account `user`, by their marker."""
    by_marker: dict[str, list[SlurmJob]] = defaultdict(list)
    for job in jobs:
        if marker_of(job, user):
            by_marker[job.name].append(job)
    return by_marker


def marker_of(job: SlurmJob, user: str) -> str | None:
    """Return the marker of a job that this site made. A name alone may be anybody's.

    Either proof will do: plugins of a cluster may write a comment of their own, and not every one knows user names.
    """
    is_ours = job.user == user or job.comment == comment_of(job.name)
    return job.name if is_ours and MARKER.fullmatch(job.name) else None


def is_of(handle: Handle, job: SlurmJob, user: str) -> bool:
    return handle.external_id == (marker_of(job, user) or foreign_id(job))


def foreign_id(job: SlurmJob) -> str:
    return f"{job.job_id}-{int(job.submitted_at.timestamp()) if job.submitted_at else 0}"


def foreign_job(external_id: str, by_number: Mapping[int, SlurmJob]) -> SlurmJob | None:
    match = FOREIGN.fullmatch(external_id)
    job = by_number.get(int(match[1])) if match else None
    return job if job and foreign_id(job) == external_id else None


def number_of(handle: Handle) -> int | None:
    match = FOREIGN.fullmatch(handle.external_id)
    number = int(match[1]) if match else handle.metadata.get("slurm_job_id")
    return number if isinstance(number, int) else None


def discovered(job: SlurmJob, user: str) -> DiscoveredTraining:
    marker = marker_of(job, user)
    assert job.submitted_at is not None
    return DiscoveredTraining(
        snapshot=snapshot_of(marker or foreign_id(job), job),
        created_at=job.submitted_at,
        name=job.name,
        config={},
        dataloader_config=[],
        marker=marker,
    )
