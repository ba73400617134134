"""What a second of training costs, by provider and hardware profile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

from jobs.models import ProviderConfig
from jobs.providers import declared_prices
from jobs.providers.figures import is_cost

#: Who has set a price: an operator, by the API or in the admin, or the configuration file.
Setter: TypeAlias = Literal["operator", "file"]


def rate_of(provider: ProviderConfig, hardware: str) -> Decimal | None:
    """Return the price in US dollars a second for `hardware`; 0 is own hardware, None is not known.

    What an operator has set counts before what the configuration file says.
    """
    if hardware in provider.cost_per_second:
        return _rate(provider.cost_per_second[hardware])
    return declared_prices(provider.name).get(hardware)


def rates_of(provider: ProviderConfig) -> dict[str, Decimal]:
    """Return the known prices by hardware profile."""
    profiles = {**declared_prices(provider.name), **provider.cost_per_second}
    rates = {profile: rate_of(provider, profile) for profile in profiles}
    return {profile: rate for profile, rate in rates.items() if rate is not None}


def setter_of(provider: ProviderConfig, hardware: str) -> Setter | None:
    """Return who has set the price for `hardware`; None: it is not known."""
    if rate_of(provider, hardware) is None:
        return None
    return "operator" if hardware in provider.cost_per_second else "file"


def _rate(stored: Any) -> Decimal | None:
    try:
        rate = Decimal(str(stored))
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
    as_of = provider.prices_as_of if hardware in provider.cost_per_second else None
    return None if rate is None else Price(hardware, rate, as_of)
