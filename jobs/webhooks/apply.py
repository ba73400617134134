"""Apply stored deliveries to their jobs: once, in the order of their arrival, several in one transaction."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from django.db import connection
from django.db.models import QuerySet

from cloudtrain_site.database.fast_sql import update_if
from cloudtrain_site.database.prepared import Prepared, padded
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.job_context import job_log_context
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.models.webhook import APPLICABLE, IS_APPLICABLE
from jobs.providers.base import Snapshot
from jobs.providers.replicate.predictions import is_prediction, read_discovered, read_snapshot
from jobs.statuses import ACTIVE, BEFORE_PROVIDER
from jobs.sync import orphans
from jobs.sync.apply import SnapshotBatch

logger = logging.getLogger("simpletuner.cloud.webhooks")

#: SQLite's other writers wait for the transaction, those that store the next deliveries among them.
MAX_DELIVERIES_PER_TRANSACTION = 10
#: A transaction that held the write lock for longer rests before the next one, so that the other writers get in.
MAX_HOLD_SECONDS = 0.03
MAX_REST_SECONDS = 0.5
ROWS_PER_READ = 50
#: A task is killed after a minute.
TASK_SECONDS = 30.0

_LOCKED = Prepared(
    lambda name, *ids: (
        Job.objects.filter(provider=name, external_id__in=ids).order_by("pk").select_for_update(no_key=True)
    )
)

Pair = tuple[WebhookDelivery, Snapshot]


def apply_each(pairs: Sequence[Pair], configs: Mapping[str, ProviderConfig]) -> None:
    """Apply them in one transaction, or each in its own when one fails. One that can't be applied stays open.

    `configs` has the settings of their providers, by name.
    """
    try:
        with unit_of_work():
            _apply(pairs, configs)
    except Exception:
        if len(pairs) == 1:
            # It is stored, so the sender need not repeat it.
            logger.exception("Webhook could not be applied", extra={"external_id": pairs[0][0].external_id})
        for pair in pairs if len(pairs) > 1 else ():
            apply_each([pair], configs)


def _apply(pairs: Sequence[Pair], configs: Mapping[str, ProviderConfig]) -> None:
    """Apply them, one provider after the other in a fixed order: two that do it at once wait, and don't deadlock."""
    for name in sorted({delivery.provider for delivery, _ in pairs}):
        _apply_of(name, [pair for pair in pairs if pair[0].provider == name], configs[name])


def _apply_of(name: str, pairs: Sequence[Pair], config: ProviderConfig) -> None:
    ids = [snapshot.external_id for _, snapshot in pairs]
    # Locked in the one order that excludes deadlocks: some change in bulk below, others one by one. With their configs,
    # which an end asks for: to leave these out costs as much as to read them.
    jobs = {str(job.external_id): job for job in _LOCKED(name, *padded(ids))}
    for wave in _waves(pairs):
        of_jobs = [pair for pair in wave if pair[1].external_id in jobs]
        for delivery, snapshot in wave:
            if snapshot.external_id not in jobs:
                delivery.job, delivery.outcome = _adopt(delivery, snapshot)
                if delivery.job is not None and delivery.job.external_id == snapshot.external_id:
                    jobs[snapshot.external_id] = delivery.job
        _apply_wave([(delivery, snapshot, jobs[snapshot.external_id]) for delivery, snapshot in of_jobs], config)
    _write_down([delivery for delivery, _ in pairs])


def _write_down(deliveries: Sequence[WebhookDelivery]) -> None:
    """What came of them; their logs are kept with their jobs now."""
    for delivery in deliveries:
        # By QuerySet.update ten deliveries take a tenth longer.
        written = {"job": delivery.job_id, "outcome": delivery.outcome, "log": ""}
        update_if(WebhookDelivery, {"id": delivery.pk}, written)


def _waves(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Yield the deliveries in their order, at most one of each training at a time."""
    remaining = list(pairs)
    while remaining:
        wave: dict[str, Pair] = {}
        for pair in remaining:
            wave.setdefault(pair[1].external_id, pair)
        yield list(wave.values())
        remaining = [pair for pair in remaining if wave[pair[1].external_id] is not pair]


def _apply_wave(wave: Sequence[tuple[WebhookDelivery, Snapshot, Job]], config: ProviderConfig) -> None:
    before = {job.pk: job.status for _, _, job in wave}
    batch = SnapshotBatch({job.pk: job for _, _, job in wave}, config, Source.WEBHOOK)
    batch.apply({job.pk: snapshot for _, snapshot, job in wave})
    if batch.failed:
        raise ValueError("a snapshot could not be applied")
    for delivery, _, job in wave:
        old = before[job.pk]
        delivery.job = job
        delivery.outcome = f"nothing new: the job is {old}" if job.status == old else f"{old} -> {job.status}"


def _adopt(delivery: WebhookDelivery, snapshot: Snapshot) -> tuple[Job | None, str]:
    """Match a delivery that comes before the answer to our submission, or instead of it, by its marker."""
    owner = Job.objects.filter(provider=delivery.provider, submission_marker=delivery.marker).first()
    if not delivery.marker or owner is None:
        return None, "no job of ours"
    with job_log_context(owner):
        if owner.external_id is None and owner.status in BEFORE_PROVIDER:
            if lifecycle.mark_submitted(owner, snapshot, actor=Actor(name=delivery.provider), source=Source.WEBHOOK):
                return owner, f"adopted: {owner.status}"
            owner.refresh_from_db()
        return _refuse_training(owner, delivery, snapshot)


def _refuse_training(owner: Job, delivery: WebhookDelivery, snapshot: Snapshot) -> tuple[Job, str]:
    """Stop a training that its job can't use, if it is certain to be ours. Returns the job and the outcome."""
    late = owner, f"too late: the job is {owner.status}"
    if owner.external_id == snapshot.external_id:
        return late
    made_at = read_discovered(delivery.payload).created_at
    # Anybody can send an unsigned delivery, about any training.
    is_certain = delivery.verdict == WebhookDelivery.Verdict.ACCEPTED and orphans.is_orphan(owner, snapshot, made_at)
    orphan = orphans.adopt_orphan(owner, snapshot, source=Source.WEBHOOK, made_at=made_at) if is_certain else None
    if orphan is not None:
        outcome = f"it is {orphan.status}" if orphan.is_terminal else "asked to stop"
        return orphan, f"job {owner.pk} doesn't need it: {outcome}"
    if snapshot.status not in ACTIVE or is_certain:
        return late
    logger.warning("A training goes on that its job has no use for", extra={"external_id": snapshot.external_id})
    return owner, f"it goes on, and job {owner.pk} doesn't need it: stop it at the provider"


def replay(delivery: WebhookDelivery) -> bool:
    """Apply a stored delivery once more; one that is behind its job changes nothing. False: it can't be applied."""
    if not is_prediction(delivery.payload) or delivery.verdict not in APPLICABLE:
        return False
    with unit_of_work():
        _apply([(delivery, read_stored(delivery))], ProviderConfig.of_all([delivery.provider]))
    return True


def read_stored(delivery: WebhookDelivery) -> Snapshot:
    """Read a stored delivery, with the log that is kept beside it. Raises ProviderError when it is no prediction."""
    return read_snapshot({**(delivery.payload or {}), "logs": delivery.log})


def apply_leftovers() -> int:
    """Apply deliveries that were stored and not applied, the oldest first, for up to TASK_SECONDS. Returns how many."""
    until, last, count = monotonic() + TASK_SECONDS, 0, 0
    # Checked after each round too: a task that came meanwhile and found the lock taken relies on it.
    while monotonic() < until and _unapplied().filter(pk__gt=last).exists():
        with _sole_applier() as is_alone:
            if not is_alone:
                break
            done, last = _apply_after(last, until)
        count += done
    return count


@contextmanager
def _sole_applier() -> Iterator[bool]:
    """Yield whether no other process applies deliveries now: on SQLite two would only wait for each other."""
    if connection.vendor != "sqlite":
        yield True
        return
    with Path(f"{connection.settings_dict['NAME']}-webhooks").open("a") as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _apply_after(last: int, until: float) -> tuple[int, int]:
    """Apply the open deliveries after the id `last`. Returns how many there were, and the id of the last one."""
    count = 0
    while monotonic() < until:
        # Read and parsed before the transaction, which blocks other writers.
        rows = list(_unapplied().filter(pk__gt=last)[:ROWS_PER_READ])
        pairs = [(row, read_stored(row)) for row in rows if is_prediction(row.payload)]
        configs = ProviderConfig.of_all({row.provider for row in rows})
        last = rows[-1].pk if rows else last
        for first in range(0, len(pairs), MAX_DELIVERIES_PER_TRANSACTION):
            done, seconds = _apply_unapplied(pairs[first : first + MAX_DELIVERIES_PER_TRANSACTION], configs)
            count += done
            sleep(rest_after(seconds))
        if len(rows) < ROWS_PER_READ:
            break
    return count, last


def rest_after(seconds: float) -> float:
    """Return the seconds to let others write after a transaction of `seconds`: as long again, if that was long."""
    return min(seconds, MAX_REST_SECONDS) if seconds > MAX_HOLD_SECONDS else 0.0


def _apply_unapplied(pairs: Sequence[Pair], configs: Mapping[str, ProviderConfig]) -> tuple[int, float]:
    """Apply those that are still open. Returns how many, and the seconds without the wait for other writers.

    A process that does the same at this moment gets others, or waits and finds these done.
    """
    with unit_of_work(release_at_commit=True):
        started = monotonic()
        unapplied = _unapplied().filter(pk__in=[delivery.pk for delivery, _ in pairs])
        locked = unapplied.select_for_update(skip_locked=connection.vendor == "postgresql").values_list("pk", flat=True)
        claimed = set(locked)
        apply_each([pair for pair in pairs if pair[0].pk in claimed], configs)
        return len(claimed), monotonic() - started


def _unapplied() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(IS_APPLICABLE, outcome="").order_by("id")
