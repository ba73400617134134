"""Whether the ledger agrees with itself and with the jobs. Reads some jobs at a time, and writes nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from math import inf

from django.db.models import Q

from jobs.costs.cost_sums import wrong_sums
from jobs.models import DayCost, Job, JobAccount, LedgerEntry
from jobs.models.ledger import HELD_KINDS, ZERO

JOBS_PER_ROUND = 500
STORED_PLACES = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Difference:
    """`job_id`: None when it is one of no job."""

    job_id: str | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.job_id is None else f"Job {self.job_id}: {self.sentence}"


@dataclass(slots=True)
class Verification:
    """What was compared, and where it differs."""

    jobs: int = 0
    entries: int = 0
    differences: list[Difference] = field(default_factory=list)
    #: All jobs were looked at.
    is_complete: bool = True


@dataclass(slots=True)
class _Sums:
    spent: Decimal = ZERO
    held: Decimal = ZERO
    sequences: list[int] = field(default_factory=list)
    days: dict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


def verify(until: float = inf) -> Verification:
    """Compare each job's entries with its cost, its account and its days, and the days with the sums of reports.

    Until the monotonic time `until`. The oldest jobs come first.
    """
    outcome, last = Verification(), ""
    costly = Q(cost_usd__gt=0) | Q(account__isnull=False)
    jobs = Job.objects.filter(costly).only("status", "cost_usd").order_by("pk")
    while batch := list(jobs.filter(pk__gt=last)[:JOBS_PER_ROUND]):
        if time.monotonic() > until:
            break
        last = batch[-1].pk
        _verify(batch, outcome)
    outcome.differences += [
        Difference(None, f"The sums of {name}, which reports show, are not what jobs spent then: ledger --sum-again.")
        for name in wrong_sums(until)
    ]
    outcome.is_complete = time.monotonic() <= until
    return outcome


def _verify(jobs: Sequence[Job], outcome: Verification) -> None:
    ids = [job.pk for job in jobs]
    sums: dict[str, _Sums] = defaultdict(_Sums)
    for job_id, sequence, kind, amount, day in LedgerEntry.objects.filter(job__in=ids).values_list(
        "job_id", "sequence", "kind", "amount", "day"
    ):
        _add(sums[job_id], sequence, kind, amount, day)
        outcome.entries += 1
    accounts = {account.job_id: account for account in JobAccount.objects.filter(job__in=ids)}
    days: dict[str, list[DayCost]] = defaultdict(list)
    for one in DayCost.objects.filter(job__in=ids):
        days[one.job_id].append(one)
    for job in jobs:
        outcome.jobs += 1
        account, own = accounts.get(job.pk), sums[job.pk]
        sentences = [*_of_job(job, own), *_of_account(account, own), *_of_days(days[job.pk], own)]
        outcome.differences += [Difference(job.pk, sentence) for sentence in sentences]


def _add(sums: _Sums, sequence: int, kind: str, amount: Decimal, day: date) -> None:
    sums.sequences.append(sequence)
    if kind in HELD_KINDS:
        sums.held += amount
    else:
        sums.spent += amount
        sums.days[day] += amount


def _of_job(job: Job, sums: _Sums) -> Iterator[str]:
    if not job.is_terminal:
        return
    if sums.spent != job.cost_usd:
        yield f"it has cost ${job.cost_usd:f}, and its entries add up to ${sums.spent:f}."
    if sums.held:
        yield f"it has ended, and ${sums.held:f} are still reserved for it."


def _of_account(account: JobAccount | None, sums: _Sums) -> Iterator[str]:
    if account is None:
        if sums.sequences:
            yield "it has entries and no account."
        return
    if (account.spent, account.held) != (sums.spent, sums.held):
        yield (
            f"its account says ${account.spent:f} spent and ${account.held:f} held, its entries ${sums.spent:f} and "
            f"${sums.held:f}."
        )
    if sorted(sums.sequences) != list(range(1, account.entries + 1)):
        yield f"its entries are numbered to {account.entries}, but {len(sums.sequences)} exist."


def _of_days(days: Sequence[DayCost], sums: _Sums) -> Iterator[str]:
    if sum(not one.is_further for one in days) > 1:
        yield "more than one of its days is stored as its first."
    spent = {one.day: one.spent for one in days}
    for day in sorted({*spent, *sums.days}):
        stored, entered = spent.get(day, ZERO), sums.days.get(day, ZERO)
        if stored != entered:
            yield f"${stored:f} are counted on {day}, and its entries of that day add up to ${entered:f}."
