"""Find a provider's jobs that we don't know, and update those that we do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import IntegrityError

from cloudtrain_site.database.batches import in_batches
from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import ledger
from jobs.costs.estimates import priced
from jobs.models import Job, JobQuerySet, Organization, ProviderConfig
from jobs.providers import get_provider, label_of, names
from jobs.providers.base import DiscoveredTraining, Discovers, NeedsAccess, ProviderError
from jobs.runs.numbers import number_at_commit
from jobs.statuses import BEFORE_PROVIDER
from jobs.sync import circuit_breaker, orphans
from jobs.sync.adoption import adopt_discovered
from jobs.sync.apply import SnapshotBatch

logger = logging.getLogger("simpletuner.cloud.jobs")

DEFAULT_LIMIT = 100
#: The account that there is from the start, with or without a token.
DEFAULT = "replicate"
#: SQLite's other writers wait for the transaction: less than 1 ms each.
JOBS_PER_TRANSACTION = 25


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    label: str
    new: int = 0
    updated: int = 0
    #: A sentence about new jobs of no organization; empty when there are none.
    unassigned: str = ""

    @property
    def message(self) -> str:
        return f"Discovered {self.new} new {'job' if self.new == 1 else 'jobs'} from {self.label}"

    @property
    def warnings(self) -> list[str]:
        return [self.unassigned] if self.unassigned else []


def discover(name: str, *, limit: int = DEFAULT_LIMIT, source: str) -> DiscoveryResult:
    """Store the newest trainings of a provider, at most `limit`. Raises ProviderError when it can't be asked.

    Several discoveries may run at once: each training becomes one job.
    """
    provider = get_provider(name)
    if not isinstance(provider, Discovers):
        return DiscoveryResult(provider.label)
    config = ProviderConfig.of(name)
    lend_connection()
    try:
        trainings = asyncio.run(provider.recent(limit))
    except ProviderError as error:
        circuit_breaker.record_failure(name, error)
        raise
    circuit_breaker.record_success(config)
    ids = [item.snapshot.external_id for item in trainings]
    jobs_by_id = {job.external_id or "": job for job in Job.objects.filter(provider=name, external_id__in=ids)}
    unknown = [item for item in trainings if item.snapshot.external_id not in jobs_by_id]
    organization = organization_for_discovered(config)
    _assign(name, organization)
    in_order = sorted(unknown, key=lambda item: item.snapshot.external_id)
    new = _store_discovered(in_order, name, config, source, organization)
    updated = _update(trainings, jobs_by_id, config, source)
    unassigned = unassigned_jobs_of(name, provider.label) if new and organization is None else ""
    return DiscoveryResult(provider.label, new, updated, unassigned)


def where_to_discover() -> list[str]:
    """Return the providers to look at when none is named: those that can list their trainings.

    Replicate's first account is left out while it has no token and there are others: not every site has one.
    """
    listing = [one for one in map(get_provider, names()) if isinstance(one, Discovers)]
    return [one.name for one in listing if one.name != DEFAULT or not _lacks_access(one)] or [DEFAULT]


def _lacks_access(provider: object) -> bool:
    return isinstance(provider, NeedsAccess) and bool(provider.missing_access())


def discover_at(name: str | None, *, limit: int = DEFAULT_LIMIT, source: str) -> DiscoveryResult:
    """Discover at the provider `name`, or, when none is named, wherever that can be done. Raises ProviderError."""
    return discover(name, limit=limit, source=source) if name else _discover_everywhere(limit, source)


def _discover_everywhere(limit: int, source: str) -> DiscoveryResult:
    """Raises ProviderError when one can't be asked, after all others were."""
    results, failures = [], []
    for name in where_to_discover():
        try:
            results.append(discover(name, limit=limit, source=source))
        except ProviderError as error:
            failures.append((name, error))
    if len(failures) == 1 and not results:
        raise failures[0][1]
    result = DiscoveryResult(
        joined([one.label for one in results]),
        sum(one.new for one in results),
        sum(one.updated for one in results),
        " ".join(one.unassigned for one in results if one.unassigned),
    )
    if failures:
        text = " ".join(f"{label_of(name)} could not be checked: {error}" for name, error in failures)
        raise ProviderError(f"{text} {result.message}." if results else text)
    return result


def joined(labels: Sequence[str]) -> str:
    """Return `A, B and C`."""
    *others, last = labels or [""]
    return f"{', '.join(others)} and {last}" if others else last


def organization_for_discovered(config: ProviderConfig) -> Organization | None:
    """Return whose the provider's discovered jobs are: the one that is set, or the site's only one."""
    if config.discovery_organization is not None:
        return config.discovery_organization
    organizations = list(Organization.objects.all()[:2])
    return organizations[0] if len(organizations) == 1 else None


def _assign(name: str, organization: Organization | None) -> None:
    """Give `organization` what was found while nobody had said whose it is."""
    while organization is not None and unassigned_jobs(name).exists():
        with unit_of_work():
            unassigned = unassigned_jobs(name).order_by("pk").select_for_update(no_key=True).only("pk", "number")
            jobs = list(unassigned[:JOBS_PER_TRANSACTION])
            ids = [job.pk for job in jobs]
            Job.objects.filter(pk__in=ids).update(organization=organization)
            for job in jobs:
                job.organization = organization
                number_at_commit(job)
            ledger.assign(ids, organization)


def unassigned_jobs(name: str) -> JobQuerySet:
    return Job.objects.kept().filter(provider=name, organization=None, metadata__discovered=True)


def unassigned_jobs_of(name: str, label: str) -> str:
    """Return a sentence about the provider's discovered jobs that no member of an organization sees; empty: none."""
    count = unassigned_jobs(name).count()
    if not count:
        return ""
    jobs, them = ("1 job", "it") if count == 1 else (f"{count:,} jobs", "them")
    return (
        f"Only superusers see {jobs} created at {label} directly: no organization is set for {them}. A superuser can "
        f"set it in the admin (Provider configs, {name}, Discovery organization) or as discovery_organization with "
        f"PUT /api/cloud/providers/{name}."
    )


def _update(
    trainings: Sequence[DiscoveredTraining], jobs_by_id: dict[str, Job], config: ProviderConfig, source: str
) -> int:
    """Update the known jobs and return how many changed. Jobs that ended before can't change any more."""
    active = {external_id: job for external_id, job in jobs_by_id.items() if not job.is_terminal}
    batch = SnapshotBatch({job.pk: job for job in active.values()}, config, source)
    batch.apply(
        {
            active[item.snapshot.external_id].pk: item.snapshot
            for item in trainings
            if item.snapshot.external_id in active
        }
    )
    return batch.changed


def _store_discovered(
    trainings: Sequence[DiscoveredTraining],
    name: str,
    config: ProviderConfig,
    source: str,
    organization: Organization | None,
) -> int:
    """Store the unknown ones, in their order: two discoveries at once wait for each other, and don't deadlock."""
    owners = _owners(trainings, name)
    is_any_open = _being_submitted(name).exists()
    new, strangers = 0, []
    for item in trainings:
        owner = owners.get(item.marker or "")
        if _may_belong_to_submission(item, owner, is_any_open):
            continue
        if owner is not None and orphans.is_orphan(owner, item.snapshot, item.created_at):
            new += orphans.adopt_orphan(owner, item.snapshot, source=source, made_at=item.created_at) is not None
        else:
            strangers.append(replace(item, snapshot=priced(item.snapshot, config)))
    batches = in_batches(strangers, JOBS_PER_TRANSACTION)
    return new + sum(_store(batch, name, source, organization) for batch in batches)


def _owners(trainings: Sequence[DiscoveredTraining], name: str) -> dict[str, Job]:
    markers = {item.marker for item in trainings if item.marker}
    jobs = Job.objects.filter(provider=name, submission_marker__in=markers).select_related("organization")
    return {job.submission_marker or "": job for job in jobs.defer("config", "dataloader_config")}


def _being_submitted(name: str) -> JobQuerySet:
    open_jobs = Job.objects.active().filter(provider=name, external_id=None, status__in=BEFORE_PROVIDER)
    return open_jobs.exclude(submission_marker=None)


def _may_belong_to_submission(item: DiscoveredTraining, owner: Job | None, is_any_open: bool) -> bool:
    """Whether it belongs to a job that is being submitted now, where the dispatcher adopts it, or has just been.

    A training whose input is deleted might be any such job's, as long as there are any.
    """
    if owner is not None:
        return owner.external_id == item.snapshot.external_id or (owner.external_id is None and not owner.is_terminal)
    return item.marker is None and is_any_open and item.snapshot.data_removed


def _store(trainings: Sequence[DiscoveredTraining], name: str, source: str, organization: Organization | None) -> int:
    """Store them in one transaction. Returns how many are new."""
    try:
        return len(adopt_discovered(trainings, provider=name, organization=organization, source=source))
    except IntegrityError:  # another discovery, or a webhook, was quicker with one of them
        return sum(_store([one], name, source, organization) for one in trainings) if len(trainings) > 1 else 0
