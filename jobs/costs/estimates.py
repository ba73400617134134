"""The probable cost of a training, before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from statistics import quantiles
from typing import Any, Generic, TypeVar

from django.utils import timezone

from cloudtrain_site.database.prepared import Prepared
from jobs.configs.reading import ConfigReading, read_config
from jobs.costs.pace import batches_per_step, kind_of, kind_text
from jobs.costs.prices import Price, price_of, rate_of
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.providers.figures import LONGEST_SECONDS, Basis, is_cost, is_duration
from jobs.providers.hardware_names import hardware_label, lacks_price
from jobs.statuses import TERMINAL, JobStatus

#: Finished runs from which a step's duration is estimated, and how many it takes to do without the operator's figure.
SAMPLE_SIZE = 20
ENOUGH_RUNS = 5
DAY_SECONDS = 86_400
OPERATORS_FIGURE = "by the operator's figure"
TOO_MUCH = "it is more than can be stored."
#: The figures of a provider that only a training has which began.
OF_A_TRAINING = ("started_at", "billed_seconds", "cost_usd")
FIGURE_LABELS = {
    "started_at": "its start",
    "completed_at": "its end",
    "billed_seconds": "the seconds that it is billed for",
}

Number = TypeVar("Number", float, Decimal)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training has cost so far in US dollars. None: it has not begun, or nobody can tell, as `doubt` says."""

    amount: Decimal | None = None
    seconds: float = 0.0
    #: Why the cost is not known, as a sentence; empty when it is.
    doubt: str = ""


def cost_of(price: Price | None, hardware: str, snapshot: Snapshot, started_at: datetime | None) -> Cost:
    """Return the cost of a training so far, on that hardware at that price.

    The provider's own count of seconds is used where it gives one. A training that ended before it began cost nothing.
    """
    started = snapshot.started_at or started_at
    if started is None and not _must_have_begun(snapshot):
        return Cost()
    seconds, doubt = _paid_seconds(snapshot, started)
    if seconds is None:
        return Cost(doubt=doubt)
    if seconds and price is None:
        return Cost(doubt=lacks_price(hardware))
    amount = dollars(price.per_second if price else Decimal(0), seconds) if is_duration(seconds) else None
    return Cost(amount, seconds, "" if amount is not None else TOO_MUCH)


def _must_have_begun(snapshot: Snapshot) -> bool:
    """Whether a training of which no start is known has begun all the same."""
    is_at_work = snapshot.status in (JobStatus.RUNNING, JobStatus.COMPLETED)
    return is_at_work or bool(snapshot.billed_seconds) or not snapshot.refused.keys().isdisjoint(OF_A_TRAINING)


def _paid_seconds(snapshot: Snapshot, started: datetime | None) -> tuple[float | None, str]:
    """Return the seconds that are paid for; None and why when they are not known."""
    if "billed_seconds" in snapshot.refused:
        return None, _untrue(snapshot, "billed_seconds")
    if snapshot.billed_seconds is not None:
        return float(snapshot.billed_seconds), ""
    if "completed_at" in snapshot.refused:
        return None, _untrue(snapshot, "completed_at")
    if started is not None:
        return max(0.0, ((snapshot.completed_at or timezone.now()) - started).total_seconds()), ""
    if snapshot.status not in TERMINAL:
        return 0.0, ""  # it has begun by now, and its job's own start comes with that
    return None, _untrue(snapshot, "started_at") if "started_at" in snapshot.refused else "its start is not known."


def _untrue(snapshot: Snapshot, figure: str) -> str:
    return f"{FIGURE_LABELS[figure]} as reported by its provider can't be true: {snapshot.refused[figure]}."


def dollars(per_second: Decimal, seconds: float) -> Decimal | None:
    """Return what `seconds` cost at a price in US dollars a second; None for more than a column holds."""
    cost = per_second * Decimal(str(seconds))
    return cost.quantize(Decimal("0.0001")) if is_cost(cost) else None


def priced(
    snapshot: Snapshot, provider: ProviderConfig, hardware: str = "", started_at: datetime | None = None
) -> Snapshot:
    """Return the snapshot with the cost so far: the provider's own figure, or its time at the operator's price.

    After the end its metadata tell how it came about. `hardware` and `started_at` are the job's, where it has them.
    """
    if snapshot.cost_usd is not None:
        return snapshot
    hardware = snapshot.hardware or hardware
    price = price_of(provider, hardware, snapshot.started_at or started_at or timezone.now())
    cost = cost_of(price, hardware, snapshot, started_at)
    metadata = snapshot.metadata
    if price and cost.amount is not None and snapshot.status in TERMINAL:
        metadata = {**metadata, "price": price.as_metadata(cost.seconds)}
    basis = Basis(price.per_second, price.as_of) if price else Basis()
    return replace(snapshot, cost_usd=cost.amount, cost_doubt=cost.doubt, basis=basis, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Range(Generic[Number]):
    """What something takes at least, and what rules go by."""

    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class Estimate:
    """The probable duration and cost of a training, and what they are from. None: not known, as `doubt` says."""

    seconds: Range[float] | None = None
    #: In US dollars.
    cost: Range[Decimal] | None = None
    #: "from 7 runs of flux LoRA on h100"; empty when nothing is known.
    source: str = ""
    #: Why the cost is not known, as a sentence; empty when it is.
    doubt: str = ""

    @property
    def highest_cost(self) -> Decimal | None:
        return self.cost.high if self.cost else None

    @property
    def lowest_cost(self) -> Decimal | None:
        return self.cost.low if self.cost else None


def estimate(
    provider: ProviderConfig, config: Mapping[str, Any], hardware: str, datasets: Sequence[Any] = ()
) -> Estimate:
    """Return the estimate for a training with this config and these datasets. One bounded query."""
    return estimate_of(provider, read_config(config, datasets), hardware)


def estimate_of(provider: ProviderConfig, reading: ConfigReading, hardware: str) -> Estimate:
    """Return the `estimate` for a config that was read."""
    if reading.steps is None or reading.doubt:
        return Estimate(doubt=reading.doubt)
    pace, source = step_range(provider, reading, hardware)
    if pace is None:
        return Estimate(doubt=source)
    seconds = Range(reading.steps * pace.low, reading.steps * pace.high)
    if seconds.high > LONGEST_SECONDS:
        validations = " with their validations" if reading.passes_per_step else ""
        doubt = f"{reading.steps:,} steps{validations} would take longer than {LONGEST_SECONDS / DAY_SECONDS:.0f} days."
        return Estimate(source=source, doubt=doubt)
    rate = rate_of(provider, hardware)
    if rate is None:
        return Estimate(seconds, source=source, doubt=lacks_price(hardware))
    lowest, highest = dollars(rate, seconds.low), dollars(rate, seconds.high)
    if lowest is None or highest is None:
        return Estimate(seconds, source=source, doubt=TOO_MUCH)
    return Estimate(seconds, Range(lowest, highest), source)


def longest_seconds(job: Job) -> float | None:
    """Return how long the job takes at most by its estimate; None when that is not known. One bounded query."""
    config = ProviderConfig.of(job.provider)
    expected = estimate(config, job.config, job.hardware_profile, job.dataloader_config).seconds
    return expected.high if expected else None


def step_range(provider: ProviderConfig, reading: ConfigReading, hardware: str) -> tuple[Range[float] | None, str]:
    """Return the seconds that a step takes and what they are from; without any, None and why.

    Of many runs one in ten is quicker than the range, and one slower. A few are no proof: until there are ENOUGH_RUNS,
    the operator's figure is the least that a step takes, for each sample of its batch in each pass that it accumulates,
    with its share of the validations.
    """
    paces = recent_paces(provider.name, hardware, kind_of(reading))
    floor = provider.seconds_per_step
    if not is_duration(floor):
        return None, f"the operator's seconds per step for {provider.name} can't be true: {floor}."
    kind = f"{kind_text(reading)} on {hardware_label(hardware) or 'the default hardware'}"
    runs = f"{len(paces)} {'run' if len(paces) == 1 else 'runs'} of {kind}"
    if len(paces) >= ENOUGH_RUNS:
        tenths = quantiles(paces, n=10, method="inclusive")
        return Range(tenths[0], tenths[-1]), f"from {runs}"
    if floor <= 0 and not paces:
        return None, f"no run of {kind} has ended, and no seconds per step are set for {provider.name}."
    least = floor * batches_per_step(reading)
    figure = Range(max(least, min(paces, default=0)), max(least, *paces, 0.0))
    figure_source = OPERATORS_FIGURE if floor > 0 else ""
    if figure_source and reading.passes_per_step:
        figure_source += " with validations"
    return figure, f"{figure_source} and {runs}" if figure_source and paces else figure_source or f"from {runs}"


_NEWEST_PACES = Prepared(
    lambda provider, hardware, kind: (
        Job.objects.filter(
            provider=provider,
            hardware_profile=hardware,
            training_kind=kind,
            status=JobStatus.COMPLETED,
            seconds_per_step__isnull=False,
        )
        .order_by("-completed_at")
        .values_list("seconds_per_step", flat=True)[:SAMPLE_SIZE]
    )
)


def recent_paces(provider: str, hardware: str, kind: str) -> list[float]:
    """Return the seconds a step of the last completed runs of a kind of training."""
    return [pace for pace in _NEWEST_PACES(provider, hardware, kind) if pace is not None]
