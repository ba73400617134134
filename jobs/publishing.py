"""What browsers are told of a job between two changes of its status: its progress and cost, and what it waits for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.states import Actor, Change, Source
from jobs.models import Job
from jobs.statuses import JobStatus

#: The contract: at most one `job_progress` a second for a job.
PROGRESS_INTERVAL = timedelta(seconds=1)


def publish_waiting(jobs: Sequence[Job], source: str) -> None:
    """Tell whoever shows the jobs that their providers let them wait for something else now.

    Called in the transaction that wrote it. A job that runs meanwhile waits for nothing.
    """
    waiting = Job.objects.filter(pk__in=[job.pk for job in jobs], status=JobStatus.QUEUED)
    still = set(waiting.values_list("pk", flat=True))
    for job in filter(lambda job: job.pk in still, jobs):
        job.publish_change(Change.of(job, job.status, job.status, actor=Actor(name=job.provider), source=source))


def publish_waiting_for(provider: str, profiles: Collection[str]) -> None:
    """Tell whoever shows a waiting job that whether a node can run its profile has changed.

    Called in the transaction that wrote it. The jobs are locked: one that starts meanwhile is told of after this.
    """
    waiting = Job.objects.filter(
        provider=provider, hardware_profile__in=profiles, status__in=(JobStatus.PENDING, JobStatus.QUEUED)
    )
    locked = waiting.order_by("pk").select_for_update(no_key=True)
    for job in locked.defer("config", "dataloader_config"):
        actor = Actor(name=provider)
        job.publish_change(Change.of(job, job.status, job.status, actor=actor, source=Source.LOOP))


def publish_progress(job: Job) -> None:
    """Publish the job's progress and cost, at most once a second. Called in the transaction that wrote it."""
    now = timezone.now()
    if Job.objects.filter(_publishable(now), pk=job.pk).update(progress_told_at=now):
        publish(_progress_event(job))


def publish_progress_of(jobs: Sequence[Job]) -> None:
    """As `publish_progress`, for many in two statements. The caller has locked them."""
    now = timezone.now()
    due = set(Job.objects.filter(_publishable(now), pk__in=[job.pk for job in jobs]).values_list("pk", flat=True))
    Job.objects.filter(pk__in=due).update(progress_told_at=now)
    for job in jobs:
        if job.pk in due:
            publish(_progress_event(job))


def _publishable(now: datetime) -> Q:
    return Q(progress_told_at=None) | Q(progress_told_at__lte=now - PROGRESS_INTERVAL)


def _progress_event(job: Job) -> Event:
    cost = None if job.known_cost is None else float(job.known_cost)
    data: dict[str, Any] = {"job_id": job.pk, "stage": job.stage, "progress": job.progress, "last_log": job.last_log}
    # Beside what the contract names: the step that the percentage is of, and the cost.
    data |= {"step": job.step, "total_steps": job.total_steps, "cost_usd": cost}
    return Event(type="job_progress", channel=job.channel, data=data)
