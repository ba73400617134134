"""Hand claimed jobs to their providers, and clear up what a crash left behind.

Claim - submit - record. The provider is called outside of every transaction; what it answers is recorded only by
whoever still holds the claim.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from datetime import timedelta

from django.utils import timezone

from cloudtrain_site.events import unit_of_work
from cloudtrain_site.states import Source
from jobs import lifecycle
from jobs.models import Job
from jobs.providers import get_provider
from jobs.providers.base import Order, Provider, ProviderError, Snapshot
from jobs.statuses import TERMINAL, JobStatus
from jobs.tracing import tracing
from queueing import claims, guards
from queueing.models import QueueEntry
from queueing.statuses import LIVE, EntryStatus

logger = logging.getLogger("simpletuner.cloud.queue")
provider_logger = logging.getLogger("simpletuner.cloud.providers")

#: How long a training that may or may not exist is looked for before a person is asked.
UNCONFIRMED_AFTER = timedelta(minutes=10)


def dispatch(entry: QueueEntry) -> bool:
    """Submit the job of a claimed entry. True: its provider has it."""
    job = Job.objects.select_related("organization").get(pk=entry.job_id)
    # Asked about the very copy that is submitted: what changes in the row after this does not reach the provider.
    if not guards.may_go(entry, job):
        return False
    if not lifecycle.begin_submission(job):
        _withdraw(entry, job)
        return False
    provider_logger.info("Submitting to provider", extra={"attempt": entry.attempts})
    try:
        snapshot = asyncio.run(get_provider(job.provider).submit(order_of(job)))
    except ProviderError as error:
        _refused(entry, job, error)
        return False
    return record_accepted(entry, job, snapshot)


def order_of(job: Job) -> Order:
    """The job as its provider gets to see it."""
    return Order(
        job_id=job.pk,
        config=job.config,
        dataloader_config=job.dataloader_config,
        hardware_profile=job.hardware_profile,
        marker=job.submission_marker or "",
        correlation_id=job.correlation_id,
    )


def record_accepted(entry: QueueEntry, job: Job, snapshot: Snapshot) -> bool:
    """Take down what the provider started. False: the claim is somebody else's by now, and so is the answer."""
    with unit_of_work():
        if not claims.confirm(entry):
            return False
        lifecycle.mark_submitted(job, snapshot, actor=claims.DISPATCHER)
    if Job.objects.filter(pk=job.pk).exclude(cancel_requested_at=None).exists():
        # Somebody cancelled while the provider was being called.
        lifecycle.request_cancel(job, actor=claims.DISPATCHER, source=Source.DISPATCHER)
    return True


def _refused(entry: QueueEntry, job: Job, error: ProviderError) -> None:
    logger.warning("The provider did not take the job", extra={"error": str(error), "attempt": entry.attempts})
    if not error.nothing_created:
        return  # It may exist: the lease runs out, and then it is looked for by its marker.
    job.refresh_from_db(fields=["cancel_requested_at"])
    if job.cancel_requested_at is not None:
        _give_up(entry, job, JobStatus.CANCELLED, "cancelled before the provider took it")
    elif error.permanent or entry.attempts >= claims.MAX_ATTEMPTS:
        _give_up(entry, job, JobStatus.FAILED, str(error))
    else:
        pause = None if error.retry_after is None else timedelta(seconds=error.retry_after)
        claims.give_back(entry, str(error), pause=pause)


def _give_up(entry: QueueEntry, job: Job, to: JobStatus, reason: str) -> None:
    """End job and entry together, if the claim is still ours."""
    with unit_of_work():
        held = QueueEntry.objects.filter(
            pk=entry.pk, status=EntryStatus.DISPATCHING, claim_token=entry.claim_token
        ).select_for_update()
        if held.exists():
            lifecycle.finish(job, to, actor=claims.DISPATCHER, source=Source.DISPATCHER, reason=reason)
            claims.end(job, actor=claims.DISPATCHER, source=Source.DISPATCHER)


def _withdraw(entry: QueueEntry, job: Job) -> None:
    """The job may not be submitted any more: it ended, or somebody cancelled it in the meantime."""
    job.refresh_from_db()
    if not job.is_terminal:
        _give_up(entry, job, JobStatus.CANCELLED, "cancelled before the provider took it")
    claims.end(job, actor=claims.DISPATCHER, source=Source.DISPATCHER)


def adopt_abandoned() -> int:
    """Settle the claims whose lease ran out: look for the training first, and never submit it blindly again."""
    abandoned = QueueEntry.objects.filter(status=EntryStatus.DISPATCHING, lease_until__lt=timezone.now())
    return sum(_settle(entry) for entry in abandoned.select_related("job"))


def _settle(entry: QueueEntry) -> bool:
    with tracing(entry.job):
        return _settle_traced(entry, entry.job)


def _settle_traced(entry: QueueEntry, job: Job) -> bool:
    provider = get_provider(job.provider)
    if provider.bound_to_machine and entry.claimed_on != socket.gethostname():
        return _settle_elsewhere(entry, job)
    if not claims.take_over(entry):
        return False
    logger.warning("Taking over an abandoned dispatch", extra={"attempt": entry.attempts})
    if job.submission_marker is None:
        # The claim's holder died before it began: nothing can have been created.
        return claims.give_back(entry, "the dispatcher stopped before it called the provider")
    return _adopt_or_wait(entry, job, provider)


def _adopt_or_wait(entry: QueueEntry, job: Job, provider: Provider) -> bool:
    marker = job.submission_marker or ""
    try:
        found = asyncio.run(provider.find_by_marker([marker])).get(marker)
    except ProviderError as error:
        logger.warning("Could not look for the training", extra={"error": str(error)})
        return False
    if found is not None:
        return record_accepted(entry, job, found)
    if provider.once_per_marker:
        return dispatch(entry)
    return False


def _settle_elsewhere(entry: QueueEntry, job: Job) -> bool:
    """Only the machine that held the claim could tell; when it stays away, the job can't be waited for for ever."""
    started = job.submission_started_at or entry.dispatched_at or entry.enqueued_at
    if timezone.now() - started < UNCONFIRMED_AFTER or not claims.take_over(entry):
        return False
    _give_up(entry, job, JobStatus.FAILED, f"{entry.claimed_on} stopped while it was starting the training")
    return True


def close_ended() -> int:
    """End the entries of jobs that have ended: what a lost signal would have done."""
    ended = Job.objects.filter(status__in=TERMINAL, queue_entries__status__in=LIVE)
    return sum(claims.end(job) for job in ended)


def run_pass() -> int:
    """One pass: clear up, then claim and dispatch until nothing more may go. Returns how many jobs were handed over."""
    close_ended()
    adopt_abandoned()
    dispatched = 0
    while entries := claims.claim_next():
        dispatched += sum(_dispatch_safely(entry) for entry in entries)
    return dispatched


def _dispatch_safely(entry: QueueEntry) -> bool:
    """One entry's surprise must not keep the others of the pass from going; its lease brings it back."""
    with tracing(entry.job):
        try:
            return dispatch(entry)
        except Exception:
            logger.exception("Dispatch failed")
            return False
