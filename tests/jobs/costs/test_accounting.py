"""The arithmetic of the ledger: days, months, and what is held and spent."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.costs.accounting import (
    ACCRUE_PAUSE,
    MAX_DAYS,
    Account,
    Bookkeeper,
    Counted,
    Released,
    Reserved,
    split_by_day,
)
from jobs.models.ledger import CostSource
from jobs.providers.figures import Basis

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
PRICE = Basis(Decimal("0.01"))


def keeper() -> Bookkeeper:
    return Bookkeeper(Account(job_id="a", provider="replicate"), ZoneInfo("UTC"))


def counted(cost: str, at: datetime = NOON, *, ended: datetime | None = None, doubt: str = "") -> Counted:
    began = NOON - timedelta(minutes=5)
    return Counted(at, Decimal(cost), began, ended, doubt, PRICE, "replicate", "it said so")


def written(books: Bookkeeper) -> list[tuple[str, Decimal]]:
    return [(str(entry.kind), entry.amount) for entry in books.entries]


def test_an_amount_over_midnight_is_shared_by_time() -> None:
    begin = datetime(2026, 11, 30, 21, tzinfo=UTC)
    shares = split_by_day(Decimal(4), begin, begin + timedelta(hours=4), BERLIN)
    assert [(share.day, float(share.amount)) for share in shares] == [(date(2026, 11, 30), 2), (date(2026, 12, 1), 2)]
    assert shares[0].at.astimezone(BERLIN).date() == date(2026, 11, 30)


@given(
    amount=st.decimals("0.000001", 100_000, places=6),
    begin=st.timedeltas(timedelta(), timedelta(days=2000)).map(lambda ago: NOON - ago),
    length=st.timedeltas(timedelta(), timedelta(days=900)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"]),
)
def test_shares_add_up_and_each_lies_in_its_day(amount: Decimal, begin: datetime, length: timedelta, zone: str) -> None:
    shares = split_by_day(amount, begin, begin + length, ZoneInfo(zone))
    assert sum(share.amount for share in shares) == amount
    assert len(shares) <= MAX_DAYS + 1
    days = [share.day for share in shares]
    assert days == sorted(set(days))
    assert all(share.at.astimezone(ZoneInfo(zone)).date() == share.day for share in shares)
    assert all(begin <= share.at <= begin + length for share in shares)


def test_a_claim_holds_its_estimate_and_a_second_one_no_more() -> None:
    books = keeper()
    books.note(Reserved(NOON, Decimal(5)))
    books.note(Reserved(NOON, Decimal(5)))
    assert written(books) == [("reserve", Decimal(5))]
    books.note(Released(NOON))
    books.note(Released(NOON))
    assert written(books)[1:] == [("release", Decimal(-5))]
    assert books.account.held == 0


def test_what_is_spent_is_held_no_more() -> None:
    books = keeper()
    books.note(Reserved(NOON, Decimal(5)))
    books.note(counted("2"))
    assert (float(books.account.spent), float(books.account.held)) == (2, 3)
    books.note(counted("9", NOON + timedelta(hours=1)))
    assert (float(books.account.spent), float(books.account.held)) == (9, 0), "more than was estimated"


def test_a_running_job_has_an_entry_a_minute_at_most() -> None:
    books = keeper()
    books.note(counted("1"))
    books.note(counted("2", NOON + ACCRUE_PAUSE - timedelta(seconds=1)))
    assert written(books) == [("accrue", Decimal(1))]
    books.note(counted("3", NOON + ACCRUE_PAUSE))
    assert written(books)[1:] == [("accrue", Decimal(2))]


def test_a_running_jobs_cost_never_goes_down() -> None:
    books = keeper()
    books.note(counted("3"))
    books.note(counted("1", NOON + timedelta(hours=1)))
    assert written(books) == [("accrue", Decimal(3))]


def test_an_end_settles_and_holds_nothing() -> None:
    books, end = keeper(), NOON + timedelta(minutes=2)
    books.note(Reserved(NOON, Decimal(5)))
    books.note(counted("2"))
    books.note(counted("2.5", end, ended=end))
    books.note(counted("2.5", end, ended=end))
    assert written(books)[-2:] == [("settle", Decimal("0.5")), ("release", Decimal(-3))]
    assert (float(books.account.spent), float(books.account.held)) == (2.5, 0)


def test_an_end_that_costs_less_than_was_counted_takes_it_back() -> None:
    books = keeper()
    books.note(counted("2"))
    books.note(counted("0", NOON, ended=NOON))
    assert written(books)[-1] == ("settle", Decimal(-2))


def test_later_news_is_a_correction_with_who_and_why() -> None:
    books = keeper()
    books.note(counted("2", ended=NOON))
    books.note(counted("0", NOON + timedelta(days=40), ended=NOON))
    entry = books.entries[-1]
    assert (entry.kind, float(entry.amount), entry.by, entry.reason) == ("correct", -2, "replicate", "it said so")
    assert entry.day == NOON.date(), "the month of the end is corrected, not the month of the news"


def test_an_unknown_cost_is_unpriced_and_not_nothing() -> None:
    books = keeper()
    books.note(Reserved(NOON, None))
    books.note(counted("0", ended=NOON, doubt="there is no price for h100."))
    assert [entry.source for entry in books.entries] == [CostSource.UNPRICED, CostSource.UNPRICED]
    assert books.account.is_unpriced
    books.note(counted("4", ended=NOON))
    assert (books.account.is_unpriced, written(books)[-1]) == (False, ("correct", Decimal(4)))


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1)])
def test_a_providers_clock_that_is_ahead_adds_no_time(ahead: timedelta) -> None:
    books = keeper()
    books.note(counted("1", NOON, ended=NOON + ahead))
    assert [entry.at for entry in books.entries] == [NOON]


def test_a_basis_says_how_many_seconds_at_which_price() -> None:
    books = keeper()
    books.note(counted("2", ended=NOON))
    assert (books.entries[0].seconds, books.entries[0].per_second) == (200.0, Decimal("0.01"))
