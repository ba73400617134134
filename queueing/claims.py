"""The verbs of the queue. Each returns whether this call made the change."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import Error, connection
from django.db.models import CharField, F, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from cloudtrain_site.database.connections import repeat_when_lost
from cloudtrain_site.database.failures import is_lost_connection
from cloudtrain_site.database.fast_sql import insert_one, unsaved
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.database.unit_of_work import joined_unit, unit_of_work
from cloudtrain_site.states import SYSTEM, Actor, Change, Source, change_state, move_all
from jobs.costs import ledger
from jobs.models import Job, record_in_history
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import passes
from queueing.budgets.purse import cheaper_than_refused, current_purse
from queueing.candidates import next_candidates
from queueing.limits import current_limits, current_usage, queue_state
from queueing.models import LARGE, QueueEntry
from queueing.policy import choose, turn_of
from queueing.statuses import LIVE, EntryStatus

logger = logging.getLogger("simpletuner.cloud.queue")

DISPATCHER = Actor(name="dispatcher")
#: A provider call ends well within this, by its own timeouts; after it the claim counts as abandoned.
LEASE = timedelta(seconds=120)
MAX_ATTEMPTS = 3
#: The pause after the first refusal; each further one is four times as long.
FIRST_PAUSE = timedelta(seconds=5)

#: No other process can claim during the transaction.
MAX_CLAIMS_PER_TX = 25
CANDIDATES_PER_LANE = 4
#: Names the claim lock among PostgreSQL's advisory locks.
CLAIM_LOCK = 7_305_221

#: A training that may or may not exist is searched for this long before a person is asked.
UNCONFIRMED_AFTER = timedelta(minutes=10)
#: The pause between two searches is as long as the training has been missing, within these bounds. An unconfirmed one
#: is searched for as well, in case it turns up after all.
MIN_SEARCH_PAUSE = timedelta(seconds=5)
MAX_SEARCH_PAUSE = timedelta(minutes=1)
UNCONFIRMED_SEARCH_PAUSE = timedelta(minutes=10)
UNCONFIRMED = "unconfirmed: look at the provider"

PRIORITIES: Mapping[str, int] = {Role.ADMIN: 30, Role.LEAD: 20, Role.RESEARCHER: 10, Role.VIEWER: 0}

#: The pauses that providers asked this process for, on the clock of time.monotonic.
_paused_until: dict[str, float] = {}

ENDS: Mapping[str, EntryStatus] = {
    JobStatus.COMPLETED: EntryStatus.COMPLETED,
    JobStatus.FAILED: EntryStatus.FAILED,
    JobStatus.CANCELLED: EntryStatus.CANCELLED,
}


def enqueue(job: Job, *, role: Role | None, held: bool, actor: Actor, source: str) -> QueueEntry:
    """Create a new job's entry; `held` blocks it until `release`."""
    status = EntryStatus.BLOCKED if held else EntryStatus.PENDING
    priority, now = PRIORITIES[role] if role else 0, timezone.now()
    entry = unsaved(
        QueueEntry,
        job=job,
        organization_id=job.organization_id,
        user_id=job.submitted_by_id,
        provider=job.provider,
        priority=priority,
        turn=turn_of(now, priority),
        needs_usd=ledger.expected_cost(job),
        enqueued_at=now,
        status=status,
    )
    with joined_unit():
        insert_one(entry)
        _record(entry, old="", new=status, actor=actor, source=source, reason=f"priority {entry.priority}")
    return entry


_OF_JOB = Prepared(lambda job: QueueEntry.objects.filter(job_id=job).only("status", "claim_token"))


def live_entry(job: Job) -> QueueEntry | None:
    """The job's entry, while it waits or takes a slot."""
    entry = next((entry for entry in _OF_JOB(job.pk) if entry.status in LIVE), None)
    if entry is not None:
        entry.job = job
    return entry


def release(job: Job, *, actor: Actor, source: str, reason: str) -> bool:
    """Unblock a held job, so that it waits for its turn."""
    entry = live_entry(job)
    if entry is None or entry.status != EntryStatus.BLOCKED:
        return False
    return change_state(entry, EntryStatus.PENDING, actor=actor, source=source, reason=reason)


def claim_next(at_most: int = MAX_CLAIMS_PER_TX) -> list[QueueEntry]:
    """Claim the entries that may go now, in order and within the limits, at most `at_most` of them.

    Deciding and claiming are one short transaction under a lock, so that two dispatchers can't exceed a limit
    together; the provider is called after it. Fewer than `at_most` doesn't mean that no more may go: ask again.
    """
    mark = secrets.token_hex(8)
    try:
        return _claim_next(at_most, mark)
    except Error as error:
        if connection.in_atomic_block or not is_lost_connection(error):
            raise
    # The claims may stand, and nobody else would take them up before their lease is over.
    return repeat_when_lost(lambda: list(_claims_with(mark).order_by("pk")) or _claim_next(at_most, mark))


def _claim_next(at_most: int, mark: str) -> list[QueueEntry]:
    with unit_of_work():
        _lock_claims()
        # Decided under the lock, so that entries that came while we waited for it are seen too.
        return _claim(choose_entries(at_most), mark)


def _claims_with(mark: str) -> QuerySet[QueueEntry]:
    claimed = QueueEntry.objects.filter(status=EntryStatus.DISPATCHING, claim_token__startswith=mark)
    return claimed.select_related("job").defer(*LARGE)


def choose_entries(at_most: int) -> list[int]:
    """Return the ids of the entries that may go now, in order, at most `at_most`. Claims nothing."""
    now = timezone.now()
    limits, usage = current_limits(queue_state()), current_usage()
    limits = replace(limits, drained=limits.drained | _paused_providers())
    if limits.paused or usage.total >= limits.total:
        return []
    depth = max(1, min(CANDIDATES_PER_LANE, limits.per_user))
    purse = current_purse(now)
    chosen = choose(next_candidates(now, depth), usage, limits, now, at_most=at_most, depth=depth, purse=purse)
    if chosen or purse is None:
        return chosen
    # Those that a budget has no room for must not keep cheaper ones behind them from going.
    return choose(cheaper_than_refused(purse, now), usage, limits, now, at_most=at_most, purse=purse)


def _paused_providers() -> frozenset[str]:
    """Return the providers that asked for a pause: they would refuse every waiting job, one after the other."""
    return frozenset(name for name, until in _paused_until.items() if until > time.monotonic())


def _lock_claims() -> None:
    """Let no other process decide until this transaction ends. SQLite's transactions have the only writer lock anyway.

    A lock on the shared row would not do: every submission requests a pass there, and would wait for the claims.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])


def _claim(chosen: Sequence[int], mark: str) -> list[QueueEntry]:
    """Claim those of `chosen` that still wait, in order, in a few statements: nobody else can claim meanwhile."""
    now = timezone.now()
    if not chosen or not move_all(
        QueueEntry.objects.filter(pk__in=chosen),
        EntryStatus.DISPATCHING,
        old=EntryStatus.PENDING,
        claim_token=Concat(Value(f"{mark}-"), Cast("pk", CharField()), output_field=CharField()),
        claimed_on=socket.gethostname(),
        lease_until=now + LEASE,
        dispatched_at=now,
        attempts=F("attempts") + 1,
    ):
        return []
    by_id = {entry.pk: entry for entry in _claims_with(mark).filter(pk__in=chosen)}
    entries = [by_id[pk] for pk in chosen if pk in by_id]
    for entry in entries:
        record_in_history(entry.job, _claimed(entry))
    ledger.reserve(entry.job for entry in entries)
    return entries


def _claimed(entry: QueueEntry) -> Change:
    return Change.of(
        entry,
        EntryStatus.PENDING,
        EntryStatus.DISPATCHING,
        actor=DISPATCHER,
        source=Source.DISPATCHER,
        correlation_id=entry.job.correlation_id,
        at=entry.dispatched_at,
    )


def reclaim(entry: QueueEntry) -> bool:
    """Take over a claim whose lease ran out. The old holder's outcome will be dropped."""
    now = timezone.now()
    token, lease = secrets.token_hex(16), now + LEASE
    abandoned = QueueEntry.objects.filter(
        pk=entry.pk, status=EntryStatus.DISPATCHING, claim_token=entry.claim_token, lease_until__lt=now
    )
    if not abandoned.update(claim_token=token, lease_until=lease):
        return False
    entry.claim_token, entry.lease_until = token, lease
    return True


def confirm(entry: QueueEntry) -> bool:
    """Turn the claim into a slot: the provider has the job. False: the claim was taken over meanwhile."""
    return change_state(
        entry,
        EntryStatus.RUNNING,
        actor=DISPATCHER,
        source=Source.DISPATCHER,
        only_if={"claim_token": entry.claim_token},
        lease_until=None,
        unconfirmed_at=None,
        last_error="",
    )


def postpone_search(entry: QueueEntry, error: str) -> bool:
    """Search for the training again after a growing pause: it is not known whether the provider has the job.

    After ten minutes a person is asked. Until then and after it the entry takes its slot. False: the claim was taken
    over.
    """
    now = timezone.now()
    # A dataset's transfer may have taken long before the submission that is missed.
    with_dataset = Job.objects.filter(pk=entry.job_id).exclude(dataset=None)
    submitted_at = with_dataset.values_list("submission_started_at", flat=True).first()
    missing_for = now - max(filter(None, (entry.dispatched_at or entry.enqueued_at, submitted_at)))
    unconfirmed_at = entry.unconfirmed_at or (now if missing_for >= UNCONFIRMED_AFTER else None)
    pause = UNCONFIRMED_SEARCH_PAUSE if unconfirmed_at else min(max(missing_for, MIN_SEARCH_PAUSE), MAX_SEARCH_PAUSE)
    held = QueueEntry.objects.filter(pk=entry.pk, status=EntryStatus.DISPATCHING, claim_token=entry.claim_token)
    with unit_of_work():
        if not held.update(lease_until=now + pause, unconfirmed_at=unconfirmed_at, last_error=error):
            return False
        if unconfirmed_at == now:
            logger.warning("Job is unconfirmed: look at the provider", extra={"error": error})
            reason = f"{UNCONFIRMED} ({error})"
            status = EntryStatus.DISPATCHING
            _record(entry, old=status, new=status, actor=DISPATCHER, source=Source.DISPATCHER, reason=reason)
    entry.unconfirmed_at = unconfirmed_at
    return True


def resubmit(entry: QueueEntry, *, actor: Actor, source: str, reason: str) -> bool:
    """Submit the job again, after a person found that the provider doesn't have it. False: it is not unconfirmed."""
    return entry.unconfirmed_at is not None and _give_up(
        entry,
        EntryStatus.PENDING,
        actor=actor,
        source=source,
        reason=f"resubmit: {reason}",
        only_if={"unconfirmed_at": entry.unconfirmed_at, "claim_token": entry.claim_token},
        claim_token=None,
        lease_until=None,
        unconfirmed_at=None,
        not_before=None,
        attempts=0,
        last_error="",
    )


def requeue(entry: QueueEntry, error: str, *, pause: timedelta | None = None) -> bool:
    """Let the entry wait for another attempt, after a growing pause: the provider surely made nothing.

    Or after `pause`, when the provider asked for one: then this counts as no attempt, and no job goes there meanwhile.
    """
    wait, attempts = pause or FIRST_PAUSE * 4 ** (entry.attempts - 1), entry.attempts
    reason = f"try {attempts} of {MAX_ATTEMPTS} failed: {error}"
    if pause is not None:
        _paused_until[entry.provider] = time.monotonic() + pause.total_seconds()
        attempts, reason = attempts - 1, f"the provider asked to retry later: {error}"
    return _give_up(
        entry,
        EntryStatus.PENDING,
        actor=DISPATCHER,
        source=Source.DISPATCHER,
        reason=reason,
        only_if={"claim_token": entry.claim_token},
        claim_token=None,
        lease_until=None,
        attempts=attempts,
        last_error=error,
        not_before=timezone.now() + wait,
    )


def _give_up(entry: QueueEntry, to: EntryStatus, **options: Any) -> bool:
    """As `change_state`, from a claim to waiting: what was held for its job is returned."""
    with joined_unit():
        moved = change_state(entry, to, **options)
        if moved:
            ledger.release([entry.job])
    return moved


def live_entries(jobs: Iterable[Job]) -> dict[str, QueueEntry]:
    """Return the live entries of many jobs, by the job's id, for `end`."""
    by_job = {job.pk: job for job in jobs}
    entries = {entry.job_id: entry for entry in QueueEntry.objects.filter(job__in=list(by_job), status__in=LIVE)}
    for job_id, entry in entries.items():
        entry.job = by_job[job_id]
    return entries


def end(
    job: Job,
    *,
    actor: Actor = SYSTEM,
    source: str = Source.LOOP,
    to: EntryStatus | None = None,
    entry: QueueEntry | None = None,
) -> bool:
    """End the entry of a job that has ended, and free its slot. True once, however often it is called.

    `entry` is the job's entry as the caller has read it; when it has changed since, it is read again.
    """
    if entry is not None and _end(entry, job, actor, source, to):
        return True
    entry = live_entry(job)
    return entry is not None and _end(entry, job, actor, source, to)


def _end(entry: QueueEntry, job: Job, actor: Actor, source: str, to: EntryStatus | None) -> bool:
    return change_state(
        entry,
        to or ENDS[job.status],
        actor=actor,
        source=source,
        reason=f"the job is {job.status}",
        finished_at=timezone.now(),
        claim_token=None,
        lease_until=None,
    )


def set_priority(entry: QueueEntry, priority: int, *, actor: Actor, source: str, reason: str) -> bool:
    """Override a waiting entry's priority. False: it no longer waits."""
    with unit_of_work():
        waiting = QueueEntry.objects.filter(pk=entry.pk, status=entry.status).exclude(status__in=ENDS.values())
        if not waiting.update(priority_override=priority, turn=turn_of(entry.enqueued_at, priority)):
            return False
        message = f"priority {entry.effective_priority} -> {priority}: {reason}"
        _record(entry, old=entry.status, new=entry.status, actor=actor, source=source, reason=message)
        passes.rules_changed()
    return True


def _record(entry: QueueEntry, *, old: str, new: str, actor: Actor, source: str, reason: str) -> None:
    """Record an event of the entry in its job's history that `change_state` doesn't."""
    record_in_history(entry.job, Change.of(entry, old, new, actor=actor, source=source, reason=reason))


def block(entry: QueueEntry, *, actor: Actor, reason: str) -> bool:
    """Block a claimed entry until it is released. False: the claim was taken over."""
    return _give_up(
        entry,
        EntryStatus.BLOCKED,
        actor=actor,
        source=Source.DISPATCHER,
        reason=reason,
        only_if={"claim_token": entry.claim_token},
        claim_token=None,
        lease_until=None,
        attempts=0,
    )
