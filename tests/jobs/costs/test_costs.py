"""What a training has cost: the provider's own seconds, or those from its start to its end, at the operator's price."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from jobs.configs.reading import read_config
from jobs.costs.estimates import TOO_MUCH, Cost, Range, cost_of, dollars, estimate, priced
from jobs.costs.pace import kind_of
from jobs.costs.prices import Price, price_of
from jobs.models import ProviderConfig
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from tests.factories import make_job

A_CENT = Price("h100", Decimal("0.01"), date(2026, 1, 2))
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)


def snapshot(status: JobStatus | None = JobStatus.COMPLETED, **fields: Any) -> Snapshot:
    return Snapshot("x-1", status, **fields)


@pytest.mark.parametrize(
    ("fields", "started_at", "cost", "seconds"),
    [
        ({}, None, None, 0),
        ({"completed_at": BEGAN}, None, None, 0),
        ({"billed_seconds": 12.5, "started_at": BEGAN, "completed_at": BEGAN + AN_HOUR}, BEGAN, "0.125", 12.5),
        ({"billed_seconds": 0.0}, BEGAN, "0", 0),
        ({"started_at": BEGAN, "completed_at": BEGAN + AN_HOUR}, None, "36", 3600),
        ({"completed_at": BEGAN + AN_HOUR}, BEGAN, "36", 3600),
        # Its own word for the start goes before ours.
        ({"started_at": BEGAN, "completed_at": BEGAN + AN_HOUR}, BEGAN - AN_HOUR, "36", 3600),
        # A training that ended before it began.
        ({"started_at": BEGAN + AN_HOUR, "completed_at": BEGAN}, None, "0", 0),
    ],
)
def test_what_a_training_has_cost(
    fields: dict[str, Any], started_at: datetime | None, cost: str | None, seconds: float
) -> None:
    expected = Cost(None if cost is None else Decimal(cost), seconds)
    assert cost_of(A_CENT, "h100", snapshot(**{"status": JobStatus.FAILED, **fields}), started_at) == expected


NO_PRICE = "there is no price for h100."
UNTRUE_BILL = "the seconds that it is billed for as reported by its provider can't be true: 1e300."
UNTRUE_END = "its end as reported by its provider can't be true: 9999."
UNTRUE_START = "its start as reported by its provider can't be true: 9999."


@pytest.mark.parametrize(
    ("price", "fields", "started_at", "doubt"),
    [
        (None, {"status": JobStatus.RUNNING, "started_at": BEGAN}, None, NO_PRICE),
        (None, {"status": JobStatus.RUNNING}, BEGAN, NO_PRICE),
        (None, {"started_at": BEGAN, "completed_at": BEGAN + AN_HOUR}, None, NO_PRICE),
        (None, {"billed_seconds": 12.5}, None, NO_PRICE),
        (A_CENT, {"billed_seconds": 12.5, "metadata": {"refused": {"billed_seconds": "1e300"}}}, BEGAN, UNTRUE_BILL),
        (A_CENT, {"status": JobStatus.FAILED, "metadata": {"refused": {"billed_seconds": "1e300"}}}, None, UNTRUE_BILL),
        (A_CENT, {"completed_at": BEGAN, "metadata": {"refused": {"completed_at": "9999"}}}, BEGAN, UNTRUE_END),
        (A_CENT, {"status": JobStatus.FAILED, "metadata": {"refused": {"started_at": "9999"}}}, None, UNTRUE_START),
        (A_CENT, {"completed_at": BEGAN}, None, "its start is not known."),
        (A_CENT, {"started_at": BEGAN, "completed_at": BEGAN + timedelta(days=200)}, None, TOO_MUCH),
        (Price("h100", Decimal(10**7), None), {"billed_seconds": 3600.0}, None, TOO_MUCH),
    ],
)
def test_an_unknown_cost_says_why_and_is_not_0(
    price: Price | None, fields: dict[str, Any], started_at: datetime | None, doubt: str
) -> None:
    cost = cost_of(price, "h100", snapshot(**fields), started_at)
    assert (cost.amount, cost.doubt) == (None, doubt)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": JobStatus.QUEUED},
        {"status": JobStatus.CANCELLED, "completed_at": BEGAN},
        {"status": JobStatus.CANCELLED, "billed_seconds": 0.0},
        {"status": JobStatus.CANCELLED, "metadata": {"refused": {"completed_at": "9999"}}},
        {"status": None},
    ],
)
def test_what_has_not_begun_costs_nothing_with_a_price_or_without(fields: dict[str, Any]) -> None:
    for price in (A_CENT, None):
        assert cost_of(price, "h100", snapshot(**fields), None) == Cost()


def test_no_seconds_cost_nothing_without_a_price_either() -> None:
    assert cost_of(None, "h100", snapshot(billed_seconds=0.0), BEGAN) == Cost(Decimal(0))


def test_one_that_goes_on_costs_up_to_now() -> None:
    running = snapshot(JobStatus.RUNNING, started_at=timezone.now() - AN_HOUR)
    cost = cost_of(A_CENT, "h100", running, None)
    assert cost.amount is not None
    assert 3600 <= cost.seconds < 3660
    assert Decimal(36) <= cost.amount < Decimal("36.6")
    assert cost_of(A_CENT, "h100", snapshot(JobStatus.RUNNING), None) == Cost(Decimal(0)), "it has just begun"


def test_a_cost_has_four_digits_of_a_dollar() -> None:
    assert dollars(Decimal("0.00013"), 1) == Decimal("0.0001")
    assert str(dollars(Decimal(1), 2)) == "2.0000"


def test_a_price_is_that_of_the_hardware() -> None:
    config = ProviderConfig(name="replicate", cost_per_second={"h100": 0.01}, prices_as_of=date(2026, 1, 2))
    assert price_of(config, "h100") == A_CENT
    assert price_of(config, "l40s") is None
    metadata = A_CENT.as_metadata(12.34567)
    assert metadata == {"hardware": "h100", "usd_per_second": 0.01, "seconds": 12.346, "as_of": "2026-01-02"}
    assert Price("h100", Decimal(0), None).as_metadata(1)["as_of"] is None


@pytest.mark.django_db
def test_an_operators_figure_of_less_than_a_second_counts_as_it_is() -> None:
    config = ProviderConfig(name="replicate", cost_per_second={"h100": 0.01}, seconds_per_step=0.5)
    found = estimate(config, {"max_train_steps": 100}, "h100")
    assert (found.seconds, found.cost) == (Range(50.0, 50.0), Range(Decimal("0.5"), Decimal("0.5")))


@pytest.mark.django_db
def test_what_costs_more_than_can_be_stored_at_worst_is_not_known() -> None:
    config = ProviderConfig(name="replicate", cost_per_second={"h100": 999_999}, seconds_per_step=1.0)
    assert estimate(config, {"max_train_steps": 100}, "h100").cost == Range(Decimal(99_999_900), Decimal(99_999_900))
    for pace in (1.0, 2.0):
        make_job(
            provider="replicate",
            hardware_profile="h100",
            status=JobStatus.COMPLETED,
            training_kind=kind_of(read_config({"max_train_steps": 100})),
            seconds_per_step=pace,
        )
    found = estimate(config, {"max_train_steps": 100}, "h100")
    assert (found.seconds, found.cost) == (Range(100.0, 200.0), None)
    assert (found.highest_cost, found.lowest_cost, found.doubt) == (None, None, "it is more than can be stored.")


@pytest.mark.django_db
def test_a_found_training_says_how_its_cost_came_about_once_it_has_ended() -> None:
    config = ProviderConfig(name="replicate", cost_per_second={"h100": 0.01})
    fields: dict[str, Any] = {"hardware": "h100", "billed_seconds": 100.0, "metadata": {"version": "v1"}}
    ended = priced(snapshot(**fields), config)
    assert (ended.cost_usd, ended.metadata["version"], ended.metadata["price"]["seconds"]) == (Decimal(1), "v1", 100.0)
    running = priced(snapshot(JobStatus.RUNNING, **fields), config)
    assert (running.cost_usd, running.cost_doubt, running.metadata) == (Decimal(1), "", {"version": "v1"})
    same = priced(snapshot(**fields), ProviderConfig(name="replicate", cost_per_second={}))
    assert (same.cost_usd, same.cost_doubt, same.metadata) == (None, NO_PRICE, {"version": "v1"})
    untold = priced(snapshot(hardware="h100", metadata={"version": "v1"}), config)
    assert (untold.cost_usd, untold.metadata) == (None, {"version": "v1"}), "there is a price, and no time"


@pytest.mark.django_db
def test_the_hardware_and_the_start_of_the_job_count_where_its_provider_says_none() -> None:
    config = ProviderConfig(name="replicate", cost_per_second={"h100": 0.01})
    with_cost = priced(snapshot(completed_at=BEGAN + AN_HOUR), config, "h100", BEGAN)
    assert (with_cost.cost_usd, with_cost.cost_doubt) == (Decimal(36), "")
    assert priced(snapshot(cost_usd=Decimal(7)), config).cost_usd == Decimal(7)
