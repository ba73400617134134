"""Two to five jobs side by side: their curves, what differs in their configs, what they cost, their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import ValidationError

from jobs.curves.kept import kept_curves_of
from jobs.curves.series import Curves
from jobs.models import Job
from jobs.permissions import AnyUser
from jobs.queries import find_job
from jobs.runs.changes import difference_rows, settings_of

FEWEST, MOST = 2, 5
#: Longer answers are read by nobody; the configs are a click away.
MAX_DIFFERENCES = 300
NO_CURVES = Curves({"loss": [], "learning_rate": []})
LOSSES = ("loss", "validation_loss")


@dataclass(frozen=True, slots=True)
class ComparedJob:
    job: Job
    curves: Curves
    #: Its log is being read; the curves are there in some seconds.
    is_being_read: bool
    #: By name of a loss, its last and its lowest value.
    losses: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that the jobs don't have in common."""

    path: str
    #: One for each job; None: it has none.
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    jobs: Sequence[ComparedJob]
    differences: Sequence[Difference]
    #: How many there are, with those that are not among `differences`.
    differences_total: int


def chosen_jobs(user: AnyUser, ids: Sequence[str]) -> list[Job]:
    """Return the jobs with these ids, in their order. Raises Http404 for one that `user` may not see.

    Raises ValidationError for another number of them than FEWEST to MOST, and for one that is named twice.
    """
    if not FEWEST <= len(ids) <= MOST:
        chosen = "no job is" if not ids else "one job is" if len(ids) == 1 else f"{len(ids)} jobs are"
        raise ValidationError({"id": [f"Choose {FEWEST} to {MOST} jobs: {chosen} chosen."]})
    jobs = [find_job(user, job_id) for job_id in ids]
    if len({job.pk for job in jobs}) < len(jobs):
        raise ValidationError({"id": ["A job is chosen twice: choose each once."]})
    return jobs


def compare(jobs: Sequence[Job]) -> Comparison:
    rows, total = difference_rows([config_settings_of(job) for job in jobs], MAX_DIFFERENCES)
    return Comparison([compared(job) for job in jobs], [Difference(*row) for row in rows], total)


def config_settings_of(job: Job) -> dict[str, Any]:
    """Return what differences are looked for in: the table above them has provider and hardware."""
    settings = settings_of(job)
    return {name: settings[name] for name in ("config", "dataloader_config", "dataset", "tracker_run_name")}


def compared(job: Job) -> ComparedJob:
    curves = kept_curves_of(job)
    shown = NO_CURVES if curves is None else curves
    return ComparedJob(job, shown, curves is None, losses_of(shown))


def losses_of(curves: Curves) -> dict[str, tuple[float, float]]:
    found = {}
    for name in LOSSES:
        if points := curves.series.get(name):
            found[name] = (points[-1][1], min(value for _, value in points))
    return found
