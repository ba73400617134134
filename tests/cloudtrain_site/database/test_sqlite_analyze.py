"""What SQLite's planner is told about the tables, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cloudtrain_site.database import sqlite_analyze
from cloudtrain_site.database.sqlite_analyze import refresh_statistics, refresh_when_grown
from jobs.dashboard.job_detail import retries_of
from jobs.models import Job, Organization
from jobs.permissions import visible_jobs
from jobs.statuses import JobStatus
from queueing.candidates import next_candidates
from queueing.models import QueueEntry

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def uncounted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database of which nothing is known yet, as right after its first migration."""
    monkeypatch.setattr(sqlite_analyze, "_analyzed_at", {})
    yield
    if connection.vendor == "sqlite":
        forget()


def forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'")
        if cursor.fetchone():
            cursor.execute("DELETE FROM sqlite_stat1")
            cursor.execute("ANALYZE sqlite_master")  # has the planner forget it too


def make_many(count: int, organization: Organization, user: User) -> None:
    """Jobs that ended long ago, and as many entries of the queue, of which a hundredth waits."""
    common: dict[str, Any] = {"organization": organization, "user": user, "provider": "local"}
    jobs = Job.objects.bulk_create(
        Job(
            organization=organization,
            submitted_by=user,
            provider="local",
            config_name=f"job-{n}",
            correlation_id="many",
            status=JobStatus.COMPLETED,
            completed_at=timezone.now(),
        )
        for n in range(count)
    )
    QueueEntry.objects.bulk_create(
        QueueEntry(job=job, status="pending" if n % 100 == 0 else "completed", turn=float(n), **common)
        for n, job in enumerate(jobs)
    )


def plan_of(ask: Callable[[], object]) -> str:
    """How the database finds what `ask` asks for, in its last query."""
    with CaptureQueriesContext(connection) as queries:
        ask()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries.captured_queries[-1]['sql']}")
        return "; ".join(line[-1] for line in cursor.fetchall())


def counted() -> dict[str, int]:
    """By table, how many rows the planner knows of."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tbl, MAX(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl")
        return dict(cursor.fetchall())


@pytest.mark.sqlite
def test_the_queue_takes_its_index_before_anything_was_counted_and_after(acme: Organization, alice: User) -> None:
    make_many(600, acme, alice)
    soon = timezone.now() + timedelta(minutes=1)
    for _ in range(2):
        plan = plan_of(lambda: next_candidates(soon, 10))
        assert "SEARCH first USING INDEX entry_lane" in plan
        assert "entry_by_status" not in plan
        refresh_when_grown()


@pytest.mark.sqlite
@pytest.mark.parametrize("reader", ["alice", "root"])
def test_jobs_are_numbered_and_a_jobs_retries_found_without_reading_the_others(
    acme: Organization, alice: User, root: User, reader: str
) -> None:
    make_many(600, acme, alice)
    job, user = Job.objects.earliest("id"), alice if reader == "alice" else root
    refresh_when_grown()
    assert "jobs_job USING COVERING INDEX job_" in plan_of(lambda: visible_jobs(user).count())
    assert "SEARCH jobs_job USING INDEX job_by_retry" in plan_of(lambda: retries_of(job, user))


@pytest.mark.sqlite
def test_what_has_just_grown_is_counted(acme: Organization, alice: User) -> None:
    make_many(600, acme, alice)
    assert refresh_when_grown() == 2
    assert (counted()["jobs_job"], counted()["queueing_queueentry"]) == (600, 600)


@pytest.mark.slow
@pytest.mark.sqlite
def test_what_was_counted_is_counted_again_when_it_has_several_times_the_rows(acme: Organization, alice: User) -> None:
    make_many(600, acme, alice)
    assert refresh_when_grown() == 2
    make_many(600, acme, alice)
    assert refresh_when_grown() == 0
    make_many(1300, acme, alice)
    assert refresh_when_grown() == 2


@pytest.mark.sqlite
def test_what_another_process_has_counted_is_not_counted_again(
    acme: Organization, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_many(600, acme, alice)
    refresh_statistics()
    monkeypatch.setattr(sqlite_analyze, "_analyzed_at", {})
    assert refresh_when_grown() == 0


@pytest.mark.sqlite
def test_a_table_with_gaps_is_not_counted_for_ever(acme: Organization, alice: User) -> None:
    make_many(600, acme, alice)
    kept = [*QueueEntry.objects.values_list("pk", flat=True)[:2], QueueEntry.objects.latest("pk").pk]
    QueueEntry.objects.exclude(pk__in=kept).delete()
    assert refresh_when_grown() == 2
    assert refresh_when_grown() == 0


@pytest.mark.sqlite
def test_each_index_is_counted_by_itself_for_the_sake_of_other_writers() -> None:
    with CaptureQueriesContext(connection) as queries:
        refresh_statistics()
    statements = {query["sql"] for query in queries.captured_queries}
    assert {'ANALYZE "job_list"', 'ANALYZE "job_unended"', 'ANALYZE "ledger_by_organization"'} <= statements
    assert 'ANALYZE "jobs_job"' not in statements


def test_a_new_database_is_only_looked_at(db: None) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert refresh_when_grown() == 0
    assert [query for query in queries.captured_queries if "ANALYZE" in query["sql"]] == []
