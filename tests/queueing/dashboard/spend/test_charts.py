"""The shapes of the charts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing.dashboard.spend.charts import STEPS, Committed, bars, committed_bar, scale_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("highest", "top"),
    [("0", "0.04"), ("0.04", "0.04"), ("0.9", "1"), ("7", "8"), ("101", "120"), ("1000", "1000"), ("5001", "6000")],
)
def test_a_scale_ends_at_a_round_number(highest: str, top: str) -> None:
    scale = scale_for(Decimal(highest))
    assert scale.top == Decimal(top)
    assert scale.marks == [Decimal(top) * step / STEPS for step in (4, 3, 2, 1, 0)]


@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False))
def test_everything_fits_into_its_scale_and_fills_half_of_it(highest: Decimal) -> None:
    top = scale_for(highest).top
    assert highest <= top
    assert highest < Decimal("0.04") or top < 2 * highest


def test_the_parts_of_a_bar_stand_on_each_other() -> None:
    days = [{0: Decimal(1), 2: Decimal(2)}, {}, {2: Decimal(4), 1: Decimal(-1)}]
    assert bars(days, scale_for(Decimal(4))) == [
        (0, "M0.10 100.00V75.00h0.80V100.00z"),
        (2, "M0.10 75.00V25.00h0.80V75.00zM2.10 100.00V0.00h0.80V100.00z"),
    ]


@pytest.mark.parametrize(
    ("spent", "held", "amount", "expected"),
    [
        ("20", "30", "100", Committed("20.00", "30.00", "20.00", "100.00")),
        ("100", "100", "100", Committed("50.00", "50.00", "50.00", "50.00")),
        ("10", "30", "0", Committed("25.00", "75.00", "25.00", "0.00")),
        ("0", "0", "0", None),
    ],
)
def test_the_committed_bar_is_as_long_as_the_budget_or_what_is_committed(
    spent: str, held: str, amount: str, expected: Committed | None
) -> None:
    assert committed_bar(Decimal(spent), Decimal(held), Decimal(amount)) == expected
