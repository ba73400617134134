"""The filters of the list: days in the reader's zone, chips, the form, and the totals of what is filtered."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict

from jobs.dashboard.list_query import read_query
from jobs.dashboard.listing import totals
from jobs.dashboard.listing.chips import chips_of
from jobs.dashboard.listing.periods import days_of
from jobs.finding import pages
from jobs.identifiers import new_job_id
from jobs.models import Job
from jobs.statuses import JobStatus
from tests.jobs.dashboard.test_list_views import get, shown_names

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def at(moment: str, make_job: MakeJob, **fields: object) -> Job:
    created = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return make_job(id=new_job_id(created), config_name=moment, created_at=created, **fields)


class TestDays:
    def test_begin_and_end_in_the_zone_of_the_address(self, alice: User, make_job: MakeJob) -> None:
        for moment in ("2025-10-31T22:59", "2025-10-31T23:00", "2025-11-01T22:59", "2025-11-01T23:00"):
            at(moment, make_job)
        day = "created_from=2025-11-01&created_to=2025-11-01"
        assert shown_names(get(alice, f"/?{day}&zone=Europe/Berlin")) == ["2025-11-01T22:59", "2025-10-31T23:00"]
        assert shown_names(get(alice, f"/?{day}")) == ["2025-11-01T23:00", "2025-11-01T22:59"]

    @pytest.mark.parametrize(
        ("period", "start", "end"),
        [
            ("today", "2026-03-31", None),
            ("7d", "2026-03-25", None),
            ("30d", "2026-03-02", None),
            ("month", "2026-03-01", None),
            ("last-month", "2026-02-01", "2026-02-28"),
        ],
    )
    def test_of_a_period_are_those_of_the_reader(self, period: str, start: str, end: str | None) -> None:
        query, is_understood = read_query(QueryDict(f"period={period}"), "Europe/Berlin")
        now = datetime(2026, 3, 30, 23, 30, tzinfo=UTC)
        found = [None if day is None else day.isoformat() for day in days_of(query, now)]
        assert (is_understood, found) == (True, [start, end])

    @pytest.mark.parametrize(
        "query", ["created_from=0001-01-01", "created_to=9999-12-31", "created_from=x", "period=ever", "zone=Mars/Base"]
    )
    def test_that_cannot_be_are_an_unknown_filter(self, alice: User, make_job: MakeJob, query: str) -> None:
        make_job()
        assert "Unknown filter; showing all jobs." in get(alice, f"/?{query}")


def test_each_chip_leads_to_the_list_without_it(db: None) -> None:
    address = QueryDict("provider=local&tag=paper&period=7d&zone=Europe/Berlin&cursor=x")
    chips = chips_of(read_query(address)[0], address)
    assert [(chip.label, chip.value) for chip in chips] == [
        ("Provider", "This machine"),
        ("Created", "Last 7 days"),
        ("Tag", "paper"),
    ]
    assert chips[1].without == "?provider=local&tag=paper"


def test_the_form_has_what_the_address_has(alice: User, bob: User, make_job: MakeJob) -> None:
    form = get(alice, "/jobs/filters?provider=replicate&person=bob&status=failed&search=cats&cost_from=2026-01-01")
    assert '<option value="replicate" selected>' in form
    assert re.search(r'value="failed"\s+checked', form)
    assert '<option value="bob">' in form
    assert '<input type="hidden" name="search" value="cats">' in form
    assert '<input type="hidden" name="cost_from" value="2026-01-01">' in form


def test_a_stranger_is_offered_nobody_elses_people(charlie: User, alice: User) -> None:
    assert "alice" not in get(charlie, "/jobs/filters")


def test_a_list_of_none_says_whether_there_are_others(alice: User, make_job: MakeJob) -> None:
    page = get(alice, "/?status=failed")
    assert "No jobs yet" in page and page.count("Clear filters") == 1
    make_job()
    page = get(alice, "/?status=failed")
    assert "No jobs match these filters" in page and page.count("Clear filters") == 1


class TestTotals:
    def test_are_those_of_the_filtered_jobs_one_may_see(self, alice: User, charlie: User, make_job: MakeJob) -> None:
        ended = {"status": JobStatus.COMPLETED, "duration_ms": 5_400_000}
        make_job(cost_usd=Decimal("1.50"), **ended)
        make_job(cost_usd=Decimal("2000"), hardware_profile="h100", **ended)
        make_job(status=JobStatus.RUNNING, started_at=datetime.now(UTC) - timedelta(hours=2))
        assert "3 jobs · spent $2,001.50 · ran 5.0 h" in get(alice, "/jobs/totals")
        assert "1 job · spent $2,000.00 · ran 1.5 h" in get(alice, "/jobs/totals?hardware=h100")
        assert "0 jobs" in (nothing := get(charlie, "/jobs/totals"))
        assert "$" not in nothing

    def test_have_no_time_of_a_job_that_waits_or_begins_by_a_clock_ahead_of_ours(
        self, alice: User, make_job: MakeJob
    ) -> None:
        make_job()
        for hours in (-3, 2):
            make_job(status=JobStatus.RUNNING, started_at=datetime.now(UTC) - timedelta(hours=hours))
        assert "3 jobs · spent $0.00 · ran 2.0 h" in get(alice, "/jobs/totals")

    def test_say_that_some_cost_is_not_known(self, alice: User, make_job: MakeJob) -> None:
        make_job(cost_usd=Decimal(3), cost_doubt="its end is not known.")
        assert "1 job · spent at least $3.00" in get(alice, "/jobs/totals")

    def test_stop_at_a_limit(self, alice: User, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(totals, "MOST_COUNTED", 2)
        monkeypatch.setattr(pages, "MOST_COUNTED", 2)
        for _ in range(3):
            make_job(cost_usd=Decimal(1))
        assert "More than 2 jobs" in get(alice, "/jobs/totals")
