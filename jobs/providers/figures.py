"""Figures that providers report: which of them can be true. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

#: No training was made before it.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
#: How far ahead of ours a provider's clock may be.
CLOCK_SLACK = timedelta(days=1)
#: 115 days: longer than any provider lets a training run.
LONGEST_SECONDS = 10_000_000
#: What the columns of costs hold, in US dollars.
LARGEST_COST = Decimal("99999999.9999")


@dataclass(frozen=True, slots=True)
class Basis:
    """What a cost is from: the operator's price for a second and its date, or the provider's own figure."""

    per_second: Decimal | None = None
    priced_on: date | None = None
    #: As `jobs.models.ledger.CostSource` has them.
    source: str = "price"


def is_moment(value: datetime) -> bool:
    """Whether anything can have happened at that time."""
    return value.tzinfo is not None and EARLIEST <= value <= datetime.now(UTC) + CLOCK_SLACK


def is_duration(value: float) -> bool:
    """Whether a training can have run for so many seconds. NaN is none."""
    return 0 <= value <= LONGEST_SECONDS


def is_cost(value: Decimal) -> bool:
    """Whether a training can have cost so many US dollars."""
    return value.is_finite() and 0 <= value <= LARGEST_COST
