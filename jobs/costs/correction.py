"""Charge the right price for trainings that began with a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import ledger
from jobs.costs.estimates import dollars
from jobs.costs.prices import RATE_PLACES, governing
from jobs.models import DatedPrice, Job, JobQuerySet
from jobs.models.ledger import CostSource
from jobs.providers import names
from jobs.providers.figures import Basis, is_cost, is_duration
from jobs.statuses import TERMINAL

JOBS_PER_TRANSACTION = 100
REASON_LIMIT = 300


class CorrectionError(ValueError):
    """A correction that can't be made; the message says why."""


@dataclass(frozen=True, slots=True)
class CostChange:
    job_id: str
    old: Decimal
    new: Decimal
    seconds: float

    @property
    def difference(self) -> Decimal:
        return self.new - self.old


@dataclass(frozen=True, slots=True)
class Correction:
    """The right price of trainings that began at `since` or later, until the next dated price.

    Trainings that run are charged it from their next entry on. What the provider itself has charged stays.
    """

    provider: str
    hardware: str
    per_second: Decimal
    since: datetime
    by: str
    reason: str

    def preview(self) -> list[CostChange]:
        """Return what `apply` would change. Raises CorrectionError."""
        self._check()
        changes, last = list[CostChange](), ""
        while rows := list(self._jobs().filter(pk__gt=last)[:JOBS_PER_TRANSACTION]):
            changes += [change for job in rows if (change := self._change(job))]
            last = rows[-1].pk
        return changes

    def apply(self) -> list[CostChange]:
        """Write the price and the corrections; a second call finds nothing to change. Raises CorrectionError."""
        self._check()
        self._date_price()
        changes, last = list[CostChange](), ""
        while True:
            with unit_of_work():
                rows = list(self._jobs().filter(pk__gt=last).select_for_update(no_key=True)[:JOBS_PER_TRANSACTION])
                if not rows:
                    return changes
                for job in rows:
                    if change := self._change(job):
                        self._write(job, change)
                        changes.append(change)
                last = rows[-1].pk

    def _check(self) -> None:
        if self.provider not in names():
            raise CorrectionError(f"There is no provider “{self.provider}”. There are: {', '.join(names())}.")
        if not is_cost(self.per_second) or self.per_second != self.per_second.quantize(RATE_PLACES):
            raise CorrectionError(f"{self.per_second} is not a price: enter 0 or more, with at most 10 decimals.")
        if self.since > timezone.now():
            raise CorrectionError("The first day is in the future. Set future prices in the admin.")
        if len(self.reason) > REASON_LIMIT:
            raise CorrectionError(f"The reason is longer than {REASON_LIMIT} characters.")

    def _date_price(self) -> None:
        prices = self._prices()
        dated = governing(prices, self.since)
        if dated is None or dated.per_second != self.per_second:
            DatedPrice.objects.create(
                provider=self.provider,
                hardware=self.hardware,
                per_second=self.per_second,
                valid_from=max(self.since, dated.valid_from) if dated else self.since,
                by=self.by,
                reason=self.reason,
            )

    def _prices(self) -> Sequence[DatedPrice]:
        prices = DatedPrice.objects.filter(provider=self.provider, hardware=self.hardware)
        return list(prices.order_by("valid_from", "id"))

    def _until(self) -> datetime | None:
        """Return when the next dated price began; None: there is none."""
        return next((price.valid_from for price in self._prices() if price.valid_from > self.since), None)

    def _jobs(self) -> JobQuerySet:
        """Return the ended jobs that were charged by the price, in the order of their ids."""
        jobs = Job.objects.filter(
            provider=self.provider,
            status__in=TERMINAL,
            started_at__gte=self.since,
            metadata__price__hardware=self.hardware,
        )
        until = self._until()
        if until is not None:
            jobs = jobs.filter(started_at__lt=until)
        return jobs.defer("config", "dataloader_config").order_by("pk")

    def _change(self, job: Job) -> CostChange | None:
        seconds = job.metadata["price"].get("seconds")
        if not isinstance(seconds, int | float) or not is_duration(seconds):
            return None
        cost = dollars(self.per_second, seconds)
        return None if cost is None or cost == job.cost_usd else CostChange(job.pk, job.cost_usd, cost, seconds)

    def _write(self, job: Job, change: CostChange) -> None:
        price = {**job.metadata["price"], "usd_per_second": float(self.per_second)}
        job.cost_usd, job.metadata = change.new, {**job.metadata, "price": price}
        Job.objects.filter(pk=job.pk).update(cost_usd=job.cost_usd, metadata=job.metadata)
        basis = Basis(self.per_second, source=CostSource.PERSON)
        ledger.count([job], {job.pk: basis}, by=self.by, reason=self.reason)
