"""What a second of training costs, by provider and hardware profile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

from django.utils import timezone

from jobs.models import DatedPrice, ProviderConfig
from jobs.providers import declared_prices
from jobs.providers.figures import EARLIEST, is_cost

#: Who has set a price: an operator, by the API or in the admin, or the configuration file.
RATE_PLACES = Decimal("0.0000000001")
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


def price_of(provider: ProviderConfig, hardware: str, at: datetime | None = None) -> Price | None:
    """Return the price for `hardware` at the moment `at`; None: now. A training costs what its start's price is."""
    dated = governing(dated_prices(provider).get(hardware, ()), at) if at else None
    if dated is not None:
        return None if dated.per_second is None else Price(hardware, dated.per_second, dated.priced_on)
    rate = rate_of(provider, hardware)
    return None if rate is None else Price(hardware, rate, _priced_on(provider, hardware))


def _priced_on(provider: ProviderConfig, hardware: str) -> date | None:
    return provider.prices_as_of if hardware in provider.cost_per_second else None


def governing(prices: Sequence[DatedPrice], at: datetime) -> DatedPrice | None:
    """Return the one of `prices`, the oldest first, that counts for a training that began at `at`.

    While there was no price, it is the first that came later.
    """
    number = next((number for number in reversed(range(len(prices))) if prices[number].valid_from <= at), None)
    if number is None:
        return None
    return next((price for price in prices[number:] if price.per_second is not None), prices[number])


def dated_prices(provider: ProviderConfig) -> Mapping[str, Sequence[DatedPrice]]:
    """Return all prices that the provider had, by hardware, the oldest first. One query for each `provider` object."""
    loaded: dict[str, list[DatedPrice]] | None = vars(provider).get("_dated_prices")
    if loaded is None:
        loaded = defaultdict(list)
        for price in DatedPrice.objects.filter(provider=provider.name).order_by("hardware", "valid_from", "id"):
            loaded[price.hardware].append(price)
        vars(provider)["_dated_prices"] = loaded
    return loaded


def note_prices(providers: Iterable[ProviderConfig]) -> int:
    """Put prices that have changed into the dated list, from now on. Returns how many.

    The first of a hardware profile counts from the beginning. To be called wherever a change may be noticed: the
    configuration file tells nobody of one.
    """
    changed = [price for provider in providers for price in _changed_prices(provider, timezone.now())]
    DatedPrice.objects.bulk_create(changed)
    return len(changed)


def _changed_prices(provider: ProviderConfig, now: datetime) -> list[DatedPrice]:
    rates, dated = rates_of(provider), dated_prices(provider)
    changed = []
    for hardware in {**dated, **rates}:
        prices, rate = dated.get(hardware, ()), rates.get(hardware)
        if prices and prices[-1].per_second == (None if rate is None else rate.quantize(RATE_PLACES)):
            continue
        price = DatedPrice(
            provider=provider.name,
            hardware=hardware,
            per_second=rate,
            priced_on=_priced_on(provider, hardware),
            valid_from=now if prices else EARLIEST,
        )
        changed.append(price)
    if changed:
        vars(provider).pop("_dated_prices", None)
    return changed
