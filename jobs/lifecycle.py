"""The verbs of a job's life. Each returns whether this call made the change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import copy_context
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, CharField, Value, When
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.fast_sql import insert_one, unsaved
from cloudtrain_site.database.unit_of_work import joined_unit, unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Change, Source, change_state
from jobs.configs.submission import Submission
from jobs.costs import ledger
from jobs.failures.cause import line_of
from jobs.identifiers import new_marker
from jobs.models import DatasetUpload, Job, LogPiece, Organization
from jobs.providers.base import Snapshot
from jobs.publishing import publish_progress, publish_waiting
from jobs.runs.numbers import next_number
from jobs.runs.origin import NEW, Origin
from jobs.snapshot_fields import (
    details_in,
    end_fields,
    ending_fields,
    log_due_fields,
    pace_fields,
    progress_fields,
    reported_fields,
    staged_fields,
    waiting_fields,
)
from jobs.statuses import ACTIVE, ALLOWED, BEFORE_PROVIDER, CANCEL_REQUESTED, TERMINAL, JobStatus
from jobs.tags.tagging import put_on_new_job

logger = logging.getLogger("simpletuner.cloud.jobs")

#: A job counts as queued this long before its provider's answer at most: copies made by later attempts to submit it are
#: recognized by that time.
LATE_ANSWER = timedelta(minutes=1)
#: What the database may write in another way than it was submitted in, and an approval goes by.
REWRITTEN = ("config", "dataloader_config", "estimated_cost_usd")


def create(
    submission: Submission,
    *,
    organization: Organization,
    user: User,
    source: str,
    estimated_cost: Decimal | None,
    lowest_cost: Decimal | None = None,
    estimate_source: str = "",
    origin: Origin = NEW,
    number: int | None = None,
) -> Job:
    """Store a new job, with its history and its event. It waits; nothing is started here.

    `estimated_cost` and `lowest_cost` are the ends of the estimate in US dollars; `number` is of `number_ahead`. The
    caller's transaction holds `permissions.lock_submitter`, which has checked the number of the user's open jobs, and
    ends with an error. The job has its config and estimate as the database has them: it may write a number another way
    than the client did.
    """
    job = unsaved(
        Job,
        organization=organization,
        submitted_by=user,
        correlation_id=get_correlation_id(),
        provider=submission.provider,
        hardware_profile=submission.hardware_profile,
        config_name=submission.config_name,
        tracker_run_name=submission.tracker_run_name,
        **submission.columns(),
        dataset_id=submission.dataset or None,
        **submission.fuse(),
        estimated_cost_usd=estimated_cost,
        estimated_cost_low_usd=estimated_cost if lowest_cost is None else lowest_cost,
        estimate_source=estimate_source or None,
        **origin.columns(submission),
    )
    actor = Actor.of(user)
    change = Change.of(job, "", JobStatus.PENDING, actor=actor, source=source, reason=origin.reason, at=job.created_at)
    with joined_unit():
        _mark_dataset_used(submission.dataset)
        job.number = next_number(organization.pk) if number is None else number
        insert_one(job, reading=REWRITTEN)
        put_on_new_job(job, submission.tags)
        job.record(change)
        transaction.on_commit(lambda: job.announce(change), robust=True)
    return job


def _mark_dataset_used(upload_id: str) -> None:
    """Keep the dataset from being removed before its job exists. Raises Conflict when it was removed."""
    if not upload_id:
        return
    present = DatasetUpload.objects.filter(pk=upload_id, removed_at=None)
    if not present.update(last_used_at=timezone.now()):
        raise Conflict("The dataset was just removed. Upload it again.", code="dataset_removed")


def begin_submission(job: Job) -> bool:
    """Store the marker that the provider will echo, before the provider is called.

    False: the job was cancelled or ended meanwhile, and must not be submitted. From here on only an
    answer of the provider, or the certainty that there is none, ends the job.
    """
    if job.submission_marker is not None:
        return may_continue(job)
    marker, now = new_marker(), timezone.now()
    waiting = Job.objects.filter(
        pk=job.pk, status__in=BEFORE_PROVIDER, submission_marker=None, cancel_requested_at=None, deleted_at=None
    )
    if not waiting.update(submission_marker=marker, submission_started_at=now):
        return False
    job.submission_marker, job.submission_started_at = marker, now
    return True


def begin_submissions(jobs: Sequence[Job]) -> set[str]:
    """Begin many submissions without a marker, in two statements. Returns the ids of the jobs that may be submitted."""
    markers, now = {job.pk: new_marker() for job in jobs}, timezone.now()
    waiting = Job.objects.filter(
        pk__in=markers, status=JobStatus.PENDING, submission_marker=None, cancel_requested_at=None, deleted_at=None
    )
    marker_of = Case(*(When(pk=pk, then=Value(marker)) for pk, marker in markers.items()), output_field=CharField())
    if not jobs or not waiting.update(submission_marker=marker_of, submission_started_at=now):
        return set()
    stored = Job.objects.filter(pk__in=markers, submission_marker__in=markers.values())
    begun = set(stored.values_list("pk", flat=True))
    for job in jobs:
        if job.pk in begun:
            job.submission_marker, job.submission_started_at = markers[job.pk], now
    return begun


def may_continue(job: Job) -> bool:
    """Whether an earlier, unfinished submission of `job` may be tried again."""
    return Job.objects.filter(pk=job.pk, status__in=BEFORE_PROVIDER, cancel_requested_at=None).exists()


def mark_submitted(job: Job, snapshot: Snapshot, *, actor: Actor, source: str = Source.DISPATCHER) -> bool:
    """Record that the provider has the job, and its external id. False: it has ended, or has another training."""
    if job.external_id not in (None, snapshot.external_id):
        return False
    status = snapshot.status if snapshot.status not in (None, JobStatus.PENDING) else JobStatus.QUEUED
    job.queued_at = _queued_at(job, snapshot)
    moved = _change(
        job,
        status,
        snapshot,
        actor=actor,
        source=source,
        reason=f"accepted by {job.provider} as {snapshot.external_id}",
        external_id=snapshot.external_id,
        queued_at=job.queued_at,
        **staged_fields(job),
        **log_due_fields(job, status),
        **{**waiting_fields(job, status, snapshot), **ending_fields(job, status, snapshot)},
        **reported_fields(job, snapshot),
    )
    if moved:
        extra = {"job_id": job.pk, "provider": job.provider, "external_id": snapshot.external_id}
        context = copy_context()  # a write that fails is repeated, and says so once
        transaction.on_commit(lambda: context.run(logger.info, "Job accepted by the provider", extra=extra))
    return moved


def _queued_at(job: Job, snapshot: Snapshot) -> datetime:
    """Return now, or when the training began while we waited for the answer or searched for it."""
    now = timezone.now()
    if job.submission_started_at is None or snapshot.started_at is None:
        return now
    return min(now, max(job.submission_started_at, snapshot.started_at, now - LATE_ANSWER))


def apply_snapshot(job: Job, snapshot: Snapshot, *, source: str) -> bool:
    """Update `job` from its provider's snapshot. Only forwards: a status behind the job's changes nothing.

    True: the status changed. Progress, cost and the like are stored either way while the job is active.
    """
    if job.is_terminal:
        return False
    to = snapshot.status
    if to is not None and to in ALLOWED[job.status]:
        return _move(job, to, snapshot, source)
    _refresh_details(job, snapshot, source)
    return False


def apply_final_details(job: Job, snapshot: Snapshot) -> bool:
    """Store progress and cost of an ended job, which came with its complete log after its end.

    A late snapshot from before the end is ignored: it knows less.
    """
    if snapshot.status not in TERMINAL:
        return False
    details = details_in(job, snapshot)
    for name in ("error_message", "error_line"):
        details.pop(name, None)
    if "started_at" in details and job.completed_at is not None and "completed_at" not in snapshot.refused:
        details.update(end_fields(details["started_at"], job.completed_at))
    if job.status == JobStatus.COMPLETED and (snapshot.progress is not None or job.training_kind is None):
        pace = pace_fields(job, snapshot, details)
        details.update({name: value for name, value in pace.items() if getattr(job, name) != value})
    if not (job.is_terminal and details):
        return False
    with joined_unit():
        if not Job.objects.filter(pk=job.pk, status=job.status).update(**details):
            return False
        if {"cost_usd", "cost_doubt"} & details.keys():
            for name in ("cost_usd", "cost_doubt"):
                setattr(job, name, details.get(name, getattr(job, name)))
            ledger.count_snapshot(job, snapshot)
    return True


def _change(job: Job, to: str, snapshot: Snapshot, **options: Any) -> bool:
    """As `change_state`, with what the snapshot says of the cost in the ledger."""
    with joined_unit():
        moved = change_state(job, to, **options)
        if moved:
            ledger.count_snapshot(job, snapshot)
    return moved


def _move(job: Job, to: JobStatus, snapshot: Snapshot, source: str) -> bool:
    fields = {**reported_fields(job, snapshot), **progress_fields(job, snapshot), **ending_fields(job, to, snapshot)}
    fields.update(waiting_fields(job, to, snapshot), last_synced_at=timezone.now())
    if to == JobStatus.COMPLETED:
        fields.update(pace_fields(job, snapshot, fields))
    if to in TERMINAL:
        fields.update(log_due_fields(job, to))
    if to == JobStatus.RUNNING and job.started_at is None:
        fields.setdefault("started_at", timezone.now())
    moved = _change(
        job,
        to,
        snapshot,
        actor=Actor(name=job.provider),
        source=source,
        reason=fields.get("error_line", ""),
        **fields,
    )
    if moved:
        logger.info("Job is now %s", to, extra={"job_id": job.pk, "provider": job.provider, "status": str(to)})
    return moved


def _refresh_details(job: Job, snapshot: Snapshot, source: str) -> None:
    """Store what changed besides the status, as long as the status is still the one that was read."""
    changed = details_in(job, snapshot)
    if not changed:
        return
    with unit_of_work():
        if not Job.objects.filter(pk=job.pk, status=job.status).update(**changed, last_synced_at=timezone.now()):
            return
        for name, value in changed.items():
            setattr(job, name, value)
        if {"stage", "progress", "step", "last_log", "cost_usd", "cost_doubt"} & changed.keys():
            publish_progress(job)
        if {"cost_usd", "cost_doubt"} & changed.keys():
            ledger.count_snapshot(job, snapshot)
        if "provider_waiting_reason" in changed:
            publish_waiting([job], source)


def finish(job: Job, to: JobStatus, *, actor: Actor, source: str, reason: str, along: tuple[str, ...] = ()) -> bool:
    """End a job that no provider is training: it could not be started, or may not be.

    `along` names the subjects that the caller ends in the same transaction.
    """
    with joined_unit():
        ended = change_state(
            job,
            to,
            actor=actor,
            source=source,
            reason=reason,
            along=along,
            **end_fields(job.started_at, timezone.now()),
            error_message=reason if to == JobStatus.FAILED else job.error_message,
            error_line=line_of(reason) if to == JobStatus.FAILED else job.error_line,
        )
        if ended:
            ledger.count([job])
    return ended


def request_cancel(job: Job, *, actor: Actor, source: str, reason: str = "") -> bool:
    """Stop a job: at once while no provider has it, otherwise as soon as its provider confirms.

    True: it is cancelled, or its provider will be asked until it is. False: it had already ended.
    """
    now = timezone.now()
    if job.status in BEFORE_PROVIDER and _cancel_unstarted(job, actor, source, reason):
        return True
    with unit_of_work():
        active = Job.objects.filter(pk=job.pk, status__in=ACTIVE)
        if not active.exists():
            return False
        if active.filter(cancel_requested_at=None).update(cancel_requested_at=now, cancel_requested_by=actor.name):
            job.refresh_from_db()
            job.record_note(actor, source, f"{CANCEL_REQUESTED}{f': {reason}' if reason else ''}")
        transaction.on_commit(lambda: async_task("jobs.tasks.cancel_at_provider", job.pk))
    return True


def _cancel_unstarted(job: Job, actor: Actor, source: str, reason: str) -> bool:
    """False: its submission has begun."""
    with joined_unit():
        cancelled = change_state(
            job,
            JobStatus.CANCELLED,
            actor=actor,
            source=source,
            reason=reason or "cancelled before it was started",
            only_if={"submission_started_at": None},
            **end_fields(job.started_at, timezone.now()),
        )
        if cancelled:
            ledger.count([job])
    return cancelled


def delete(job: Job, *, actor: Actor, source: str) -> bool:
    """Delete an ended job from every list, and its files. Its cost stays counted, its output is kept.

    False: it has not ended, or is deleted.
    """
    ended = Job.objects.kept().exclude(status__in=ACTIVE)
    with unit_of_work():
        if not ended.filter(pk=job.pk).update(deleted_at=timezone.now(), log_due_at=None):
            return False
        job.refresh_from_db()
        LogPiece.objects.filter(job=job).delete()
        # The maintenance loop repeats a removal that gets lost.
        transaction.on_commit(lambda: async_task("jobs.tasks.clear_away", job.pk), robust=True)
        # The event makes open pages look again, and find it gone.
        job.record_note(actor, source, "deleted")
    return True
