"""No page, API list, admin list or loop reads a large table from end to end."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from approvals.expiry import expire_due
from bench.bench_pages import QueryTrace
from bench.million_pages import people, visits
from bench.million_rows import make_site
from cloudtrain_site.database.sqlite_analyze import refresh_statistics
from cloudtrain_site.monitoring import health
from cloudtrain_site.states import Source
from jobs import maintenance
from jobs.costs.cost_sums import sum_up_costs
from jobs.costs.day_figures import sum_up_days
from jobs.costs.ledger import count_forgotten
from jobs.curves import kept
from jobs.dashboard.listing import totals
from jobs.datasets import store
from jobs.finding import pages
from jobs.models import ProviderConfig
from jobs.outputs import fetching, measuring
from jobs.retention import ended_jobs
from jobs.sync import discovery, refresh
from jobs.webhooks import apply
from queueing.claims import choose_entries
from tests.large_tables import LARGE

pytestmark = [pytest.mark.long, pytest.mark.django_db, pytest.mark.timeout(600)]

JOBS, GROWN_TO = 3000, 1_000_000
#: Of each kind; there are hundreds of lists of jobs.
VISITS_OF_A_KIND = 15
#: Partial indexes, which have the few rows that are still active, or that a person corrected.
SMALL_INDEXES = {
    *("account_holding", "entry_holds_slot", "entry_lane", "job_list_going", "job_open", "job_open_by_submitter"),
    *("request_deadline", "job_unended", "job_unassigned", "ledger_corrections"),
}
#: What has a large part of all jobs with one value.
COARSE = re.compile(
    r"SEARCH jobs_job USING (?:INDEX job_by_status_listed|(?:COVERING )?INDEX (?:job_by_(?:provider|hardware)|\w+_3)) "
    r"\(\w+=\?\)"
)
#: Statements that may read a whole table: a part of each, and why it may.
ABOUT_ALL = {
    '"queueing_queueentry"': "here most wait or run; bench_queue has a million finished ones",
    '"approvals_approvalrequest"."is_decided" ASC': "the admin's list of few requests: 100,000 are read in 80 ms",
    'WHERE ("cloudtrain_site_auditrecord"."actor" LIKE': "a superuser's search: 100,000 records are read in 70 ms",
    'WHERE (UPPER("cloudtrain_site_auditrecord"."actor"': "the same on PostgreSQL",
    'COUNT("cloudtrain_site_auditrecord"."id") AS "count"': "a superuser's counts: 100,000 records are read in 40 ms",
    'SELECT DISTINCT "cloudtrain_site_auditrecord"."action"': "the choices of a superuser's filter",
}


def chosen_visits() -> Iterator[tuple[str, str]]:
    every = list(visits())
    random.Random(1).shuffle(every)
    for kind in {visit.kind for visit in every}:
        of_kind = [visit for visit in every if visit.kind == kind]
        yield from ((visit.reader, visit.address) for visit in of_kind[:VISITS_OF_A_KIND])


def loops() -> Iterator[tuple[str, Callable[[], object]]]:
    """What loops, and the health, ask the database for every few seconds, without what they ask providers for."""
    since = timezone.now() - timedelta(minutes=5)
    yield "jobs to poll", lambda: refresh.active_jobs(without=["slurm"])
    yield "jobs to poll at one provider", lambda: refresh.active_jobs("local")
    yield "silent jobs", lambda: [maintenance.silent_jobs(config) for config in ProviderConfig.objects.all()]
    yield "cancels", maintenance.retry_cancels
    yield "datasets", store.sweep
    yield "results to fetch", fetching.request_forgotten
    yield "results to measure", lambda: measuring.measure_ended(time.monotonic() + 1)
    yield "curves", kept.request_forgotten
    yield "costs", count_forgotten
    yield "deliveries", apply.apply_leftovers
    yield "jobs of no organization", lambda: discovery.unassigned_jobs_of("replicate", "Replicate")
    yield "the queue", lambda: choose_entries(100)
    yield "requests without an answer", lambda: expire_due(source=Source.LOOP)
    yield "health", lambda: list(health.components(since))
    yield "old jobs", lambda: ended_jobs.remove_old(timezone.now() - timedelta(days=350), inf)


def test_no_page_reads_a_large_table_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pages, totals):
        monkeypatch.setattr(module, "MOST_COUNTED", 10)  # as of a million, no more are counted
    make_site(JOBS)
    sum_up_days(inf)
    sum_up_costs(inf)
    refresh_statistics()
    pretend_to_be_large()
    faults, seen = {}, set()
    clients = {}
    for reader, user in people().items():
        clients[reader] = Client()
        clients[reader].force_login(user)

    def visited(reader: str, address: str) -> Callable[[], object]:
        return lambda: clients[reader].get(address).status_code in (200, 302, 403, 404) or pytest.fail(address)

    pages_visited = ((f"{reader} {address}", visited(reader, address)) for reader, address in chosen_visits())
    for name, ask in (*loops(), *pages_visited):
        trace = QueryTrace()
        with connection.execute_wrapper(trace):
            ask()
        for _, sql, params in trace.queries:
            if sql.startswith(("SELECT", "UPDATE", "DELETE")) and sql not in seen:
                seen.add(sql)
                if found := faults_in(sql, params):
                    faults[f"{name}: {sql[sql.find('FROM') :][:700]}"] = found
    if connection.vendor == "postgresql":
        # Of a missing row it expects one where nearly all miss it, and would read all jobs to sort them.
        assert "Sort Key: jobs_job.id" not in measuring._next(None)[: measuring.BATCH].explain()
    assert not faults, "\n\n".join(f"{where}\n  {what}" for where, what in faults.items())


def pretend_to_be_large() -> None:
    """Let the planner believe that there are a million jobs, and as many times more of all else."""
    factor = GROWN_TO // JOBS
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # It looks at the files themselves; so reading a table is made dear.
            cursor.execute("ANALYZE; SET LOCAL enable_seqscan = off")
            return
        cursor.execute("SELECT rowid, stat FROM sqlite_stat1 WHERE tbl IN (SELECT name FROM sqlite_master)")
        for row, stat in cursor.fetchall():
            # The number of rows, and how many have one value of the first column, of the first two...
            numbers = [number if number == "1" else f"{int(number) * factor}" for number in re.findall(r"\d+", stat)]
            others = re.findall(r"[a-z]+\S*", stat)
            cursor.execute("UPDATE sqlite_stat1 SET stat = %s WHERE rowid = %s", [" ".join([*numbers, *others]), row])
        cursor.execute("ANALYZE sqlite_schema")  # which reads them again


def faults_in(sql: str, params: Any) -> list[str]:
    """Return the steps of the statement's plan that read a large table, or a whole index of one without a limit."""
    with connection.cursor() as cursor:
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {sql}", params)
        steps = [str(line[-1]).strip() for line in cursor.fetchall()]
    if any(part in sql for part in ABOUT_ALL):
        return []
    if connection.vendor == "postgresql":
        return [step for step in steps if (found := re.search(r"Seq Scan on (\w+)", step)) and found[1] in LARGE]
    tables = {alias: table for table, alias in re.findall(r'"(\w+)" (?:AS )?"?([UVW]\d+|T\d+)\b', sql)}
    # What is walked in an order stops when the page is full.
    is_walked = "LIMIT" in sql and not any("TEMP B-TREE FOR ORDER BY" in step for step in steps)
    is_of_few = '"completed_at" IS NULL' in sql  # the active ones, even by an index of the statuses
    if not is_walked and not is_of_few and (coarse := [step for step in steps if COARSE.match(step)]):
        return coarse
    scans = [(step, found) for step in steps if (found := re.match(r"SCAN (\w+)(?:.* INDEX (\w+))?", step))]
    return [
        step
        for step, found in scans
        if tables.get(found[1], found[1]) in LARGE and not is_walked and found[2] not in SMALL_INDEXES
    ]
