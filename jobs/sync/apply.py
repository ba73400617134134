"""Apply a provider's answers about many jobs: one by one where the status changed, in bulk where it didn't."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.database.batches import in_batches
from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.database.fast_sql import update_rows
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs import lifecycle, logs, snapshot_fields
from jobs.costs import ledger
from jobs.costs.estimates import priced
from jobs.job_context import job_log_context
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Answers, ProviderError, Snapshot
from jobs.providers.figures import Basis
from jobs.publishing import publish_progress_of, publish_waiting
from jobs.statuses import ACTIVE, TERMINAL, JobStatus

logger = logging.getLogger("simpletuner.cloud.jobs")

#: SQLite's other writers wait for the transaction: about 2 ms a move.
MOVES_PER_TRANSACTION = 25
#: The same: about 0.3 ms a row.
DETAILS_PER_TRANSACTION = 250
#: SQLite takes no more than some ten thousand parameters.
ROWS_PER_STATEMENT = 500
#: Every poll writes when it was and what a running job costs by then. Looks in quicker succession write neither.
WRITE_INTERVAL = timedelta(seconds=5)


@dataclass
class SnapshotBatch:
    """Jobs of one provider, updated with each part of its answers."""

    jobs: Mapping[str, Job]
    config: ProviderConfig
    source: str
    refreshed: int = 0
    failed: int = 0
    moved: int = 0
    #: Jobs of which anything was written, be it the status or something else.
    changed: int = 0

    def apply(self, part: Answers) -> None:
        """Apply one part. An error with one job affects that job alone."""
        answered = sorted((job_id, answer) for job_id, answer in part.items() if isinstance(answer, Snapshot))
        pairs = [(self.jobs[job_id], self._with_cost(self.jobs[job_id], answer)) for job_id, answer in answered]
        self._record_failures({job_id: a for job_id, a in part.items() if isinstance(a, ProviderError)})
        # Jobs with a log or a new status are applied one by one; a list page brings few of them.
        single = [(job, snapshot) for job, snapshot in pairs if _needs_own_update(job, snapshot)]
        alone = {job.pk for job, _ in single}
        _read_configs([job for job, snapshot in single if snapshot.status == JobStatus.COMPLETED])
        for batch in in_batches(single, MOVES_PER_TRANSACTION):
            self._apply_batch(batch)
        self._apply_details([pair for pair in pairs if pair[0].pk not in alone])

    def _apply_batch(self, batch: Sequence[tuple[Job, Snapshot]]) -> None:
        before = [job.status for job, _ in batch]
        try:
            with unit_of_work():
                outcomes = [self._apply_one(job, snapshot) for job, snapshot in batch]
                if any(moved and _lacks_log(*pair) for moved, pair in zip(outcomes, batch, strict=True)):
                    # One task for all: it fetches every log that is due.
                    transaction.on_commit(_request_capture)
        except Exception as error:
            if len(batch) == 1:
                job = batch[0][0]
                # On a full disk each look at each job fails.
                if noted_failure(error, "What providers say can't be recorded") is None:
                    logger.exception("What the provider said could not be applied", extra={"job_id": job.pk})
                self.failed += 1
                return
            # One of them spoiled the transaction of all: each gets its own, on fresh rows.
            for (job, snapshot), status in zip(batch, before, strict=True):
                if job.status != status:
                    job.refresh_from_db()
                self._apply_batch([(job, snapshot)])
            return
        self.refreshed += len(batch)
        self.moved += sum(outcomes)
        self.changed += len(batch)

    def _apply_one(self, job: Job, snapshot: Snapshot) -> bool:
        with job_log_context(job):
            if job.is_terminal:
                moved = False
                lifecycle.apply_final_details(job, snapshot)
            else:
                moved = lifecycle.apply_snapshot(job, snapshot, source=self.source)
            if snapshot.log is not None or snapshot.data_removed:
                logs.store_log(job, snapshot)
            if not moved and _is_synced_at_stale(job):
                Job.objects.filter(pk=job.pk).update(last_synced_at=timezone.now())
            if job.sync_error:
                Job.objects.filter(pk=job.pk).update(sync_error="")
            return moved

    def _apply_details(self, pairs: Sequence[tuple[Job, Snapshot]]) -> None:
        """Update jobs whose status is unchanged: only changed columns, in few statements."""
        now = timezone.now()
        bases = {job.pk: ledger.basis_of(snapshot) for job, snapshot in pairs}
        changed: dict[tuple[str, ...], list[Job]] = defaultdict(list)
        unchanged = []
        for job, snapshot in pairs:
            details = snapshot_fields.details_in(job, snapshot)
            if details:
                details["last_synced_at"] = now
                for name, value in details.items():
                    setattr(job, name, value)
                changed[tuple(sorted(details))].append(job)
            elif _is_synced_at_stale(job):
                unchanged.append(job.pk)
        for columns, rows in changed.items():
            for batch in in_batches(rows, DETAILS_PER_TRANSACTION):
                self._write_details(batch, columns, bases)
        for keys in in_batches(unchanged, ROWS_PER_STATEMENT):
            with locked_in_id_order(keys):
                Job.objects.filter(pk__in=keys).update(last_synced_at=now)
        self.refreshed += len(pairs)

    def _write_details(self, jobs: Sequence[Job], columns: Sequence[str], bases: Mapping[str, Basis]) -> None:
        with unit_of_work(), locked_in_id_order([job.pk for job in jobs]):
            self.changed += update_rows(jobs, columns, among={"status": ACTIVE})
            if {"cost_usd", "cost_doubt"} & set(columns):
                publish_progress_of(jobs)
                ledger.count(jobs, bases)
            if "provider_waiting_reason" in columns:
                publish_waiting(jobs, self.source)

    def _record_failures(self, failures: Mapping[str, ProviderError]) -> None:
        by_message: dict[str, list[str]] = defaultdict(list)
        for job_id, error in failures.items():
            job = self.jobs[job_id]
            extra = {"job_id": job_id, "provider": job.provider, "error": str(error)}
            logger.debug("Failed to sync job %s", job_id, extra=extra)
            if job.sync_error != str(error):
                by_message[str(error)].append(job_id)
        for message, keys in by_message.items():
            for chunk in in_batches(keys, ROWS_PER_STATEMENT):
                with locked_in_id_order(chunk):
                    Job.objects.filter(pk__in=chunk).update(sync_error=message)
        self.failed += len(failures)

    def _with_cost(self, job: Job, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with its cost, but for what a running job has cost since it was last written."""
        with_cost = priced(snapshot, self.config, job.hardware_profile, job.started_at)
        if with_cost.cost_doubt and _is_settled(job):
            return snapshot  # what an ended job has cost stays known, whatever is said or priced later
        cost = with_cost.cost_usd
        if snapshot.cost_usd is not None or cost is None or with_cost.status in TERMINAL or job.cost_doubt is not None:
            return with_cost
        rate = with_cost.basis.per_second if with_cost.basis else None
        is_little = rate is not None and abs(cost - job.cost_usd) < rate * WRITE_INTERVAL.seconds
        return snapshot if is_little else with_cost


@contextmanager
def locked_in_id_order(keys: Sequence[str]) -> Iterator[None]:
    """Lock several jobs before a change of all of them, in the one order that excludes deadlocks.

    A statement locks its rows in an order of its own; every change of more than one job locks them by id first.
    """
    if not connection.features.has_select_for_update:
        yield
        return
    if len(keys) == 1:
        yield  # the change itself locks it: three round trips less
        return
    with transaction.atomic():
        list(Job.objects.filter(pk__in=keys).order_by("pk").select_for_update(no_key=True).values_list("pk"))
        yield


def _read_configs(completed: Sequence[Job]) -> None:
    """Read the configs, which tell the kind of a run, where they are deferred: all of them in one query."""
    deferred = {job.pk: job for job in completed if "config" not in vars(job)}
    configs = Job.objects.filter(pk__in=deferred).values_list("pk", "config", "dataloader_config")
    for job_id, config, datasets in configs if deferred else ():
        deferred[job_id].config, deferred[job_id].dataloader_config = config, datasets


def _needs_own_update(job: Job, snapshot: Snapshot) -> bool:
    return (
        snapshot_fields.moves(job, snapshot)
        or job.is_terminal
        or snapshot.log is not None
        or snapshot.progress is not None
        or bool(job.sync_error)
    )


def _is_settled(job: Job) -> bool:
    """Whether the job has ended and what it has cost is known: not of one that ended before anybody told its start."""
    is_priced = job.cost_usd > 0 or "price" in job.metadata
    return job.is_terminal and job.cost_doubt is None and is_priced


def _is_synced_at_stale(job: Job) -> bool:
    return job.last_synced_at is None or job.last_synced_at < timezone.now() - WRITE_INTERVAL


def _lacks_log(job: Job, snapshot: Snapshot) -> bool:
    return job.is_terminal and job.log_due_at is not None and snapshot.log is None and not snapshot.data_removed


def _request_capture() -> None:
    async_task("jobs.tasks.capture_logs")
