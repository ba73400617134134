"""The probable cost of a training, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from statistics import median
from typing import Any

from django.db.models import F, Q
from django.utils import timezone

from jobs.configs.reading import read_config
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.providers.figures import is_cost, is_duration
from jobs.statuses import TERMINAL, JobStatus

#: Runs that tell how long a step takes: one that ended before it began does not, nor does one that was mostly start.
MIN_DURATION_MS = 60_000
MIN_STEPS = 100
IS_TELLING = Q(completed_at__gt=F("started_at")) & (Q(duration_ms__gt=MIN_DURATION_MS) | Q(total_steps__gt=MIN_STEPS))
#: Finished jobs on the same hardware from which a step's duration is estimated.
SAMPLE_SIZE = 20


def rate_of(provider: ProviderConfig, hardware: str) -> Decimal | None:
    """Return the operator's price in US dollars a second for `hardware`; None when there is none."""
    try:
        rate = Decimal(str(provider.cost_per_second.get(hardware)))
    except InvalidOperation:
        return None
    return rate if is_cost(rate) else None


@dataclass(frozen=True, slots=True)
class Price:
    hardware: str
    per_second: Decimal
    as_of: date | None

    def as_metadata(self, seconds: float) -> dict[str, Any]:
        """Return how a cost came about, for the job's metadata."""
        return {
            "hardware": self.hardware,
            "usd_per_second": float(self.per_second),
            "seconds": round(seconds, 3),
            "as_of": self.as_of.isoformat() if self.as_of else None,
        }


def price_of(provider: ProviderConfig, hardware: str) -> Price | None:
    rate = rate_of(provider, hardware)
    return None if rate is None else Price(hardware, rate, provider.prices_as_of)


def cost_of(price: Price, snapshot: Snapshot, started_at: datetime | None) -> tuple[Decimal | None, float]:
    """Return the cost of a training so far, and for how many seconds; None before it began, and when it is not known.

    The provider's own count of seconds is used where it gives one. A training that ended before it began cost nothing.
    """
    if "billed_seconds" in snapshot.refused:
        return None, 0.0
    seconds = snapshot.billed_seconds
    if seconds is None:
        started = snapshot.started_at or started_at
        if started is None or "completed_at" in snapshot.refused:
            return None, 0.0
        seconds = max(0.0, ((snapshot.completed_at or timezone.now()) - started).total_seconds())
    cost = dollars(price.per_second, seconds) if is_duration(seconds) else None
    return cost, float(seconds)


def dollars(per_second: Decimal, seconds: float) -> Decimal | None:
    """Return what `seconds` cost at a price in US dollars a second; None for more than a column holds."""
    cost = per_second * Decimal(str(seconds))
    return cost.quantize(Decimal("0.0001")) if is_cost(cost) else None


def priced(snapshot: Snapshot, provider: ProviderConfig | None) -> tuple[Snapshot, Decimal | None]:
    """Return a discovered training and its cost so far; after its end, with how that came about."""
    price = price_of(provider, snapshot.hardware or "") if provider else None
    cost, seconds = cost_of(price, snapshot, None) if price else (None, 0.0)
    if price and cost is not None and snapshot.status in TERMINAL:
        snapshot = replace(snapshot, metadata={**snapshot.metadata, "price": price.as_metadata(seconds)})
    return snapshot, cost


def estimate_seconds(provider: ProviderConfig, config: Mapping[str, Any], hardware: str) -> float | None:
    """Return the probable duration in seconds; None when the config doesn't say how many steps."""
    steps = read_config(config).steps
    return None if steps is None else steps * seconds_per_step(provider, hardware)


def seconds_per_step(provider: ProviderConfig, hardware: str) -> float:
    """Return the median of the last finished jobs on that hardware; the operator's figure while there are none."""
    finished = (
        Job.objects.filter(provider=provider.name, hardware_profile=hardware, status=JobStatus.COMPLETED)
        .filter(IS_TELLING, total_steps__gt=0)
        .order_by("-completed_at")
        .annotate(took=F("completed_at") - F("started_at"))
        .values_list("took", "total_steps")[:SAMPLE_SIZE]
    )
    lengths = [took.total_seconds() / steps for took, steps in finished]
    return median(lengths) if lengths else provider.seconds_per_step


def estimate_cost(provider: ProviderConfig, config: Mapping[str, Any], hardware: str) -> Decimal | None:
    """Return the probable cost in US dollars; None when steps or price are not known."""
    rate = rate_of(provider, hardware)
    seconds = estimate_seconds(provider, config, hardware)
    return None if rate is None or seconds is None else dollars(rate, seconds)
