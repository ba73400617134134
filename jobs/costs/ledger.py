"""The verbs of the ledger. Each writes at the end of the transaction of what it records, few statements for many jobs.

What a job has spent and what is held for it follow from its entries alone; a sum of each job is kept beside them
(`JobAccount`, `DayCost`) and written with them. A job's account is locked meanwhile: of two who record the same, the
second finds nothing left to write.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from cloudtrain_site.database.fast_sql import OnConflict, insert, upsert
from cloudtrain_site.database.unit_of_work import at_end_of_unit, unit_of_work
from jobs.costs.accounting import (
    COLUMNS_OF_ACCOUNT,
    Account,
    Bookkeeper,
    Counted,
    Entry,
    Happening,
    Imported,
    Released,
    Reserved,
)
from jobs.costs.estimates import estimate
from jobs.costs.prices import rate_of
from jobs.models import DayCost, Job, JobAccount, LedgerEntry, Organization, ProviderConfig
from jobs.models.ledger import IMPORTED, SPENT_KINDS, ZERO, CostSource, EntryKind
from jobs.providers.base import Snapshot
from jobs.providers.figures import Basis

ACCOUNT = OnConflict(("job",), ("spent", "held", "entries", "counted_until", "settled_at", "is_unpriced"))
UNTOUCHED = OnConflict(("job",))
DAY = OnConflict(("job", "day"), ("is_unpriced",), ("spent",))
#: Who corrects what a settled job has cost when its provider says so.
LATER_FIGURE = "the provider reported another cost after the end"
UTC_ZONE = "UTC"
#: Of a job's `cost_usd`.
STORED_PLACES = Decimal("0.0001")
#: Two versions of a site run beside each other for less time than this during an upgrade.
FORGOTTEN = timedelta(days=7)
#: The most jobs of each kind that one transaction settles.
FORGOTTEN_JOBS = 500


@dataclass(frozen=True, slots=True)
class _Record:
    job: Job
    happening: Happening


@dataclass(slots=True)
class _Day:
    """A row of DayCost that is about to be written."""

    job_id: str
    organization_id: int | None
    user_id: int | None
    provider: str
    hardware: str
    config_name: str
    day: date
    is_unpriced: bool
    spent: Decimal = ZERO
    is_further: bool = False


def expected_cost(job: Job, config_of: Callable[[str], ProviderConfig] = ProviderConfig.of) -> Decimal | None:
    """Return what the job will cost at most as far as is known, in US dollars; None: nobody can tell.

    That is its estimate, or its fuse where that is lower. A job that was submitted without an estimate has one once its
    hardware has a price; without a price, its fuse could not hold it either.
    """
    known = [amount for amount in (job.estimated_cost_usd, job.max_cost_usd) if amount is not None]
    if job.estimated_cost_usd is None:
        provider = config_of(job.provider)
        if rate_of(provider, job.hardware_profile) is None:
            return None
        present = estimate(provider, job.config, job.hardware_profile, job.dataloader_config).highest_cost
        known += [] if present is None else [present]
    return min(known, default=None)


def reserve(jobs: Iterable[Job]) -> None:
    """Set aside what the jobs will cost: the queue has claimed them."""
    now, config_of = timezone.now(), cache(ProviderConfig.of)
    _record((job, Reserved(now, expected_cost(job, config_of))) for job in jobs)


def release(jobs: Iterable[Job]) -> None:
    """Return what is held for the jobs: they wait again."""
    now = timezone.now()
    _record((job, Released(now)) for job in jobs)


def count(
    jobs: Iterable[Job], bases: Mapping[str, Basis] | None = None, *, by: str = "", reason: str = LATER_FIGURE
) -> None:
    """Record what the jobs have cost, as their rows have it now; ended ones are settled, settled ones corrected.

    To be called in the transaction that wrote the rows. `bases` says by job id what the costs are from.
    """
    now = timezone.now()
    _record((job, _counted(job, now, (bases or {}).get(job.pk) or Basis(), by, reason)) for job in jobs)


def count_snapshot(job: Job, snapshot: Snapshot) -> None:
    """As `count`, for one job whose row was just written from its provider's snapshot."""
    if job.is_terminal or job.cost_usd or job.cost_doubt:
        count([job], {job.pk: basis_of(snapshot)})


def count_forgotten() -> int:
    """Settle the jobs that ended lately without the ledger: an older version ran them during an upgrade.

    Returns how many it settled.
    """
    ended = Job.objects.filter(completed_at__gt=timezone.now() - FORGOTTEN)
    costly = Q(cost_usd__gt=0) | Q(cost_doubt__isnull=False)
    pks = [*ended.filter(costly, account=None).values_list("pk", flat=True)[:FORGOTTEN_JOBS]]
    pks += ended.filter(account__held__gt=0).values_list("pk", flat=True)[:FORGOTTEN_JOBS]
    with unit_of_work():
        count(Job.objects.filter(pk__in=pks))
    return len(pks)


def count_imported(jobs: Iterable[Job], bases: Mapping[str, Basis], *, by: str) -> None:
    """Record what ended jobs have cost before they came here, on the days of their ends. No budget counts it.

    To be called in the transaction that stores the jobs; `bases` says by job id what the costs are from.
    """
    now = timezone.now()
    _record(
        (job, Imported(now, job.cost_usd, job.completed_at or now, bases[job.pk], by, reason=IMPORTED)) for job in jobs
    )


def basis_of(snapshot: Snapshot) -> Basis:
    """Return what the snapshot's cost is from."""
    if snapshot.basis is None and snapshot.cost_usd is not None:
        return Basis(source=CostSource.PROVIDER)
    return snapshot.basis or Basis()


def _counted(job: Job, now: datetime, basis: Basis, by: str, reason: str) -> Counted:
    return Counted(
        at=now,
        cost=job.cost_usd.quantize(STORED_PLACES),
        started_at=job.started_at,
        ended_at=job.completed_at if job.is_terminal else None,
        doubt=job.cost_doubt or "",
        basis=basis,
        by=by or job.provider,
        reason=reason,
    )


def _record(records: Iterable[tuple[Job, Happening]]) -> None:
    items = [_Record(job, happening) for job, happening in records]
    if items:
        at_end_of_unit(items, _store, early=True)


def _store(items: Sequence[Sequence[_Record]]) -> None:
    by_job: dict[str, list[_Record]] = defaultdict(list)
    for records in items:
        for record in records:
            by_job[record.job.pk].append(record)
    accounts = _locked_accounts(by_job)
    zones = _zones(account.organization_id for account in accounts.values())
    keepers = [Bookkeeper(account, zones[account.organization_id]) for account in accounts.values()]
    for keeper in keepers:
        for record in by_job[keeper.account.job_id]:
            keeper.note(record.happening)
    _write(keepers, lambda job_id: by_job[job_id][0].job.config_name)


def _locked_accounts(by_job: Mapping[str, Sequence[_Record]]) -> dict[str, Account]:
    """Return the accounts of the jobs, new ones for those that begin to cost something now. Others have none."""
    accounts = _lock(by_job)
    new = [
        _new_account(records[0].job)
        for job_id, records in by_job.items()
        if job_id not in accounts and any(map(_costs_something, records))
    ]
    if new and connection.vendor == "postgresql":
        # Another transaction may make them at this moment: this waits for it.
        new.sort(key=lambda one: one.job_id)
        upsert(new, UNTOUCHED, JobAccount)
        return {**accounts, **_lock([account.job_id for account in new])}
    return {**accounts, **{account.job_id: account for account in new}}


def _locked(job_ids: Iterable[str]) -> QuerySet[JobAccount]:
    """Lock the accounts in the one order that excludes deadlocks."""
    return JobAccount.objects.filter(job__in=list(job_ids)).order_by("job_id").select_for_update(no_key=True)


def _lock(job_ids: Iterable[str]) -> dict[str, Account]:
    return {row[0]: Account(*row) for row in _locked(job_ids).values_list(*COLUMNS_OF_ACCOUNT)}


def _costs_something(record: _Record) -> bool:
    happening = record.happening
    if isinstance(happening, Counted):
        return happening.cost > 0 or bool(happening.doubt)
    return isinstance(happening, Reserved | Imported)


def _new_account(job: Job) -> Account:
    return Account(
        job_id=job.pk,
        organization_id=job.organization_id,
        user_id=job.submitted_by_id,
        provider=job.provider,
        hardware=job.hardware_profile,
    )


def _zones(organization_ids: Iterable[int | None]) -> dict[int | None, ZoneInfo]:
    found = Organization.objects.filter(pk__in={pk for pk in organization_ids if pk is not None})
    return {None: ZoneInfo(UTC_ZONE), **{pk: ZoneInfo(name) for pk, name in found.values_list("pk", "time_zone")}}


def _write(keepers: Sequence[Bookkeeper], name_of: Callable[[str], str]) -> None:
    entries = [entry for keeper in keepers for entry in keeper.entries]
    if entries:
        insert(entries, LedgerEntry)
        _write_days(entries, {keeper.account.job_id: keeper for keeper in keepers}, name_of)
    changed = [keeper.account for keeper in keepers if keeper.has_changed]
    if changed:
        upsert(changed, ACCOUNT, JobAccount)


def _write_days(entries: Sequence[Entry], keepers: Mapping[str, Bookkeeper], name_of: Callable[[str], str]) -> None:
    """Add the entries to what their jobs have spent on their days."""
    days: dict[str, dict[date, _Day]] = defaultdict(dict)
    for entry in entries:
        if entry.kind not in SPENT_KINDS:
            continue
        of_job = days[entry.job_id]
        day = of_job.get(entry.day)
        if day is None:
            keeper = keepers[entry.job_id]
            day = of_job[entry.day] = _new_day(entry, keeper.account.is_unpriced, name_of(entry.job_id))
            day.is_further = keeper.had_days or len(of_job) > 1
        day.spent += entry.amount
    if days:
        upsert([day for of_job in days.values() for day in of_job.values()], DAY, DayCost)


def _new_day(entry: Entry, is_unpriced: bool, config_name: str) -> _Day:
    return _Day(
        job_id=entry.job_id,
        organization_id=entry.organization_id,
        user_id=entry.user_id,
        provider=entry.provider,
        hardware=entry.hardware,
        config_name=config_name,
        day=entry.day,
        is_unpriced=is_unpriced,
    )


def assign(job_ids: Sequence[str], organization: Organization, user: User | None = None) -> None:
    """Move what jobs of nobody have cost to `organization`, and to `user` in it: the same amounts on the same days.

    To be called in the transaction that assigns the jobs. What belongs to an organization, or to a person, stays there.
    """
    accounts = {
        one.job_id: one
        for one in _locked(job_ids)
        if one.organization_id is None or (user is not None and one.user_id is None)
    }
    now, entries = timezone.now(), list[LedgerEntry]()
    owner = organization.pk, user.pk if user else None
    for day in DayCost.objects.filter(job__in=accounts).order_by("job_id", "day"):
        account = accounts[day.job_id]
        entries.append(_transfer(account, (account.organization_id, account.user_id), -day.spent, day.day, now))
        entries.append(_transfer(account, owner, day.spent, day.day, now))
    if entries:
        insert(entries)
    for account in accounts.values():
        account.organization, account.user = organization, user
        account.save(update_fields=["organization", "user", "entries"])
    DayCost.objects.filter(job__in=accounts).update(organization=organization, user=user)


def _transfer(
    account: JobAccount, owner: tuple[int | None, int | None], amount: Decimal, day: date, now: datetime
) -> LedgerEntry:
    account.entries += 1
    return LedgerEntry(
        job_id=account.job_id,
        organization_id=owner[0],
        user_id=owner[1],
        provider=account.provider,
        hardware=account.hardware,
        sequence=account.entries,
        kind=EntryKind.CORRECT,
        amount=amount,
        at=now,
        day=day,
        source=CostSource.PERSON,
        by="discovery",
        reason="the job belonged to nobody until now",
    )
