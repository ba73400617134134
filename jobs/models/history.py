"""The history of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models

from cloudtrain_site.database.fast_sql import unsaved
from cloudtrain_site.database.unit_of_work import insert_at_commit
from cloudtrain_site.states import Change, Source

if TYPE_CHECKING:
    from jobs.models.job import Job


class JobEvent(models.Model):
    """One line of a job's history: a change of the job, its queue entry or its approval request."""

    job = models.ForeignKey("Job", models.CASCADE, related_name="events", db_index=False)
    subject = models.CharField(max_length=20)
    old = models.CharField(max_length=20, blank=True)
    new = models.CharField(max_length=20)
    actor = models.CharField(max_length=150)
    actor_user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    source = models.CharField(max_length=20, choices=Source.choices)
    reason = models.TextField(blank=True)
    correlation_id = models.CharField(max_length=128, db_index=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        indexes = [
            # GET /api/cloud/jobs/{job_id}/events: one job's history, oldest first.
            models.Index(fields=["job", "id"], name="event_by_job"),
        ]

    def __str__(self) -> str:
        subject = self.subject.replace("_", " ").capitalize()
        return f"{subject}: {self.old or 'new'} → {self.new} by {self.actor}"


def record_in_history(job: Job, change: Change) -> None:
    """Write `change`, of whatever subject, into the history of `job`."""
    insert_at_commit(
        unsaved(
            JobEvent,
            job_id=job.pk,
            subject=change.subject,
            old=change.old,
            new=change.new,
            actor=change.actor.name,
            actor_user_id=change.actor.user_id,
            source=change.source,
            reason=change.reason,
            correlation_id=change.correlation_id,
            at=change.at,
        )
    )
