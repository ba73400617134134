"""What the address of the page of costs asks for."""

from __future__ import annotations

from datetime import date

import pytest

from queueing.dashboard.spend.address import GROUPS, View, months_before, read

pytestmark = pytest.mark.slow

TODAY = date(2026, 11, 29)


def view_of(**parameters: str) -> View:
    if day := parameters.pop("from_", ""):
        parameters["from"] = day
    return read(parameters, ["acme"], "user", TODAY)


def test_an_empty_address_is_this_month() -> None:
    view = view_of()
    assert (view.start, view.end, view.group, view.organization) == (date(2026, 11, 1), date(2026, 11, 30), "user", "")
    assert (view.title, view.address) == ("November 2026", "?month=2026-11&group=user")
    assert not view.is_misunderstood


@pytest.mark.parametrize(
    ("start", "end", "title"),
    [
        ("2026-02-01", "2026-02-28", "February 2026"),
        ("2026-11-03", "2026-11-09", "3 to 9 November 2026"),
        ("2026-11-03", "2026-11-03", "3 November 2026"),
        ("2025-12-31", "2026-01-01", "31 December 2025 to 1 January 2026"),
    ],
)
def test_some_days(start: str, end: str, title: str) -> None:
    view = view_of(from_=start, to=end)
    assert (str(view.start), str(view.end), view.title) == (start, end, title)
    assert not view.is_misunderstood


@pytest.mark.parametrize(
    "parameters",
    [
        {"month": "2026-13"},
        {"month": "2026-11-01"},
        {"month": "0000-01"},
        {"month": "november"},
        {"from_": "2026-11-09", "to": "2026-11-03"},
        {"from_": "2026-11-09"},
        {"to": "2026-02-30", "from_": "2026-02-01"},
        {"from_": "0001-01-01", "to": "9999-12-31"},
        {"group": "mood"},
        {"organization": "other"},
    ],
)
def test_what_makes_no_sense_is_this_month_of_everything_and_the_page_says_so(parameters: dict[str, str]) -> None:
    view = view_of(**parameters)
    assert (view.month, view.group, view.organization) == ("2026-11", "user", "")
    assert view.is_misunderstood


def test_many_days_are_shown_by_month() -> None:
    assert not view_of(from_="2026-09-01", to="2026-11-30").is_by_month
    assert view_of(from_="2026-09-01", to="2026-12-02").is_by_month


def test_its_addresses_keep_what_was_chosen() -> None:
    view = read({"from": "2026-11-03", "to": "2026-11-09", "organization": "acme"}, ["acme"], "user", TODAY)
    days = "from=2026-11-03&to=2026-11-09"
    assert view.of("provider").address == f"?{days}&group=provider&organization=acme"
    assert view.export_query("day,user") == f"?{days}&group=day%2Cuser&organization=acme"
    assert view.jobs_query(person="eve & co") == (
        "?organization=acme&person=eve+%26+co&cost_from=2026-11-03&cost_to=2026-11-09&sort=cost"
    )
    assert read({"month": "2026-02"}, [], "user", TODAY).address == "?month=2026-02&group=user"


def test_the_months_to_choose_from_end_now_and_have_the_chosen_one() -> None:
    months = months_before(date(2026, 1, 31), "2020-02")
    assert months[:2] == ["2026-01", "2025-12"]
    assert months[-2:] == ["2024-02", "2020-02"]
    assert len(set(months)) == len(months) == 25


def test_every_group_is_one_of_the_reports() -> None:
    from jobs.costs.spending import GROUPS as REPORTED

    assert set(GROUPS) <= set(REPORTED)
