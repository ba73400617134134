"""The orders of the list: each goes on from page to page without a gap, and none shows what isn't the reader's."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.dashboard import list_views
from jobs.dashboard.list_query import found_by, read_query
from jobs.finding import orders, pages, search
from jobs.identifiers import new_job_id
from jobs.models import DayCost, Job, JobTag, KeptCurves, Membership, Organization, RunCounter, Tag
from jobs.permissions import teams_of
from jobs.statuses import JobStatus
from tests import factories
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def listed(user: User, sort: str) -> list[str]:
    """All jobs that the list has for `user`, from its first page to its last."""
    client = Client()
    client.force_login(user)
    seen, address = [], f"?sort={sort}"
    while address:
        context = client.get(f"/{address}").context
        seen += [row.id for row in context["rows"]]
        address = context["older"]
    return seen


@pytest.mark.parametrize("sort", ["newest", "oldest", "cost"])
def test_each_order_goes_on_where_the_page_before_ended(alice: User, make_job: MakeJob, sort: str) -> None:
    for number in range(120):
        make_job(status=JobStatus.COMPLETED, cost_usd=Decimal(number // 50))
    order = {"newest": ["-id"], "oldest": ["id"], "cost": ["-cost_usd", "-id"]}[sort]
    assert listed(alice, sort) == list(Job.objects.order_by(*order).values_list("pk", flat=True))


def test_by_name_capitals_make_no_difference(alice: User, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_views, "PAGE_SIZE", 2)
    names = ["flux 10", "Flux 10", "_draft", "SDXL", "flux", "ärger", "🦊"]
    jobs = [make_job(config_name=name) for name in names]
    in_order = [2, 4, 0, 1, 3, 5, 6]
    assert listed(alice, "name") == [jobs[place].pk for place in in_order]


def test_by_loss_the_lowest_comes_first_and_those_without_one_last(
    alice: User, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_views, "PAGE_SIZE", 2)
    jobs = [make_job() for _ in range(7)]
    for place, loss in enumerate((0.5, 0.25, None, 0.5, 0.125)):
        KeptCurves.objects.create(job=jobs[place], requested_at=timezone.now(), last_loss=loss)
    assert listed(alice, "loss") == [jobs[place].pk for place in (4, 1, 3, 0, 6, 5, 2)]
    page = read_page(alice, "/?sort=loss&columns=rank")
    assert "0.125" in page and 'aria-sort="ascending"' in page
    assert listed(alice, "loss&cursor=nothing") == []


def test_by_status_what_is_at_work_comes_first(alice: User, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_views, "PAGE_SIZE", 3)
    order = ["uploading", "running", "queued", "pending", "failed", "completed", "cancelled"]
    older, newer = ({status: make_job(status=status).pk for status in JobStatus.values} for _ in range(2))
    assert listed(alice, "status") == [made[status] for status in order for made in (newer, older)]
    assert listed(alice, "status&status=failed") == [newer["failed"], older["failed"]]


@pytest.mark.parametrize("page_size", [1, 2, 5, 50])
def test_by_duration_what_runs_counts_up_to_now_and_what_has_not_begun_comes_last(
    alice: User, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr(list_views, "PAGE_SIZE", page_size)
    now = timezone.now()

    def ran(status: JobStatus, minutes: float, ended: float = 0) -> str:
        end = now - timedelta(minutes=ended)
        fields = {} if status == JobStatus.RUNNING else {"completed_at": end}
        return make_job(status=status, started_at=end - timedelta(minutes=minutes), **fields).pk

    waits, at_provider = make_job().pk, make_job(status=JobStatus.QUEUED).pk
    long_ago = [ran(JobStatus.FAILED, minutes, ended=900) for minutes in (3, 60, 3)]
    runs = [ran(JobStatus.RUNNING, minutes) for minutes in (90, 30)]
    completed, never_began = ran(JobStatus.COMPLETED, 45), make_job(status=JobStatus.CANCELLED).pk
    ended_before_it_began = ran(JobStatus.FAILED, -1, ended=5)
    begun = [runs[0], long_ago[1], completed, runs[1], long_ago[2], long_ago[0], ended_before_it_began]
    assert listed(alice, "duration") == [*begun, never_began, at_provider, waits]


@pytest.mark.parametrize("sort", ["cost", "name", "status", "duration"])
def test_asks_for_no_more_rows_than_the_order_has_on_its_page(alice: User, make_job: MakeJob, sort: str) -> None:
    running = {"status": JobStatus.RUNNING, "started_at": timezone.now()}
    jobs = [make_job(config_name=f"flux {n}", cost_usd=9 - n, **running).pk for n in range(3)]
    rows = read_page(alice, f"/jobs/rows?sort={sort}&cursor={jobs[1]}&" + "&".join(f"id={pk}" for pk in jobs))
    after = jobs[2] if sort in ("name", "cost") else jobs[0]
    assert re.findall(r'data-job="(\w+)"', rows) == [after]


@pytest.mark.parametrize("sort", [name for name, _ in orders.SORTS])
def test_each_way_to_find_a_page_finds_the_same(
    make_job: MakeJob, alice: User, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """Few or many, of each organization by itself or of all at once; and nothing of an organization of others."""
    monkeypatch.setattr(list_views, "PAGE_SIZE", 3)
    own = [Membership.objects.get(user=alice).organization]
    for name in ("second", "third", "fourth"):
        own.append(Organization.objects.create(name=name))
        Membership.objects.create(user=alice, organization=own[-1], role="viewer")
    now = timezone.now()
    for number in range(14):
        organization = Organization.objects.get_or_create(name="others")[0] if number % 5 == 4 else own[number % 4]
        ran = {"started_at": now - timedelta(hours=number % 4)} if number % 3 else {}
        status = (JobStatus.RUNNING if number % 2 else JobStatus.COMPLETED) if ran else JobStatus.PENDING
        job = factories.make_job(
            organization=organization,
            config_name=f"flux {number % 3}",
            cost_usd=Decimal(number % 3),
            status=status,
            **ran | ({"completed_at": now} if status == JobStatus.COMPLETED else {}),
        )
        if number % 4 == 1:
            KeptCurves.objects.create(job=job, requested_at=now, last_loss=number % 3)
    few, are_open = listed(alice, f"{sort}&search=flux"), "status=running&status=pending"
    few_open = listed(alice, f"{sort}&{are_open}")
    assert len(few) == len(set(few)) == 12 and few_open
    for most_lists in (300, 1):
        monkeypatch.setattr(pages, "MOST_LISTS", most_lists)
        monkeypatch.setattr(pages, "FEW", 0)
        monkeypatch.setattr(search, "MOST_IDS", 0)
        assert listed(alice, f"{sort}&search=flux") == listed(alice, sort) == few
        for most_open in (100, 0):
            monkeypatch.setattr(pages, "MOST_OPEN", most_open)
            assert listed(alice, f"{sort}&{are_open}") == few_open


@pytest.mark.parametrize("sort", ["newest", "cost"])
@pytest.mark.parametrize(
    "asked", ["tag=lora", "period=7d", "tag=lora&period=7d", "cost_from={day}&cost_to={day}", "cost_to={day}&period=7d"]
)
def test_many_of_a_tag_or_of_days_are_the_same_as_few(
    make_job: MakeJob, alice: User, monkeypatch: pytest.MonkeyPatch, asked: str, sort: str
) -> None:
    monkeypatch.setattr(list_views, "PAGE_SIZE", 2)
    now, expected = timezone.now(), []
    other = Organization.objects.create(name="others")
    for number in range(15):
        is_seen, is_recent = number % 5 != 4, number % 4 != 0
        job = factories.make_job(
            organization=Membership.objects.get(user=alice).organization if is_seen else other,
            pk=new_job_id(now - timedelta(days=0 if is_recent else 40)),
            cost_usd=Decimal(number % 3),
            started_at=now - timedelta(hours=number),
        )
        has_tag, has_cost = number % 3 != 0, number % 2 == 0
        if has_tag:
            tag, _ = Tag.objects.get_or_create(organization=job.organization, name="LoRA", name_key="lora")
            JobTag.objects.create(job=job, tag=tag)
        if has_cost:
            DayCost.objects.create(job=job, organization=job.organization, day=now.date(), spent=Decimal(1))
        wanted = {"tag": has_tag, "period": is_recent, "cost": has_cost}
        if is_seen and all(met for name, met in wanted.items() if name in asked):
            expected.append(job)
    asked = asked.format(day=now.date())
    few = listed(alice, f"{sort}&{asked}")
    assert sorted(few) == sorted(job.pk for job in expected) and few
    for module, most in ((pages, "FEW"), (search, "MOST_IDS"), (search, "MOST_ROWS"), (orders, "MANY")):
        monkeypatch.setattr(module, most, 0)
    assert listed(alice, f"{sort}&{asked}") == few


def test_many_ids_that_a_search_found_are_no_more_values_than_sqlite_takes(make_job: MakeJob) -> None:
    job = make_job()
    found = Job.objects.filter(Q(pk__in=[job.pk, *map(str, range(search.MOST_IDS))]) | Q(name_key__contains="-"))
    organizations = [*range(1_000, 1_060), job.organization_id]
    assert orders.first_ids_of_each(found, organizations, "newest", "", 50) == [job.pk]


@pytest.mark.parametrize("sort", ["newest", "oldest", "name", "cost", "duration", "loss"])
def test_nothing_is_read_of_organizations_whose_jobs_come_after_the_page(
    make_job: MakeJob, alice: User, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """A person's own organizations are read first, or the largest."""
    own, read = Membership.objects.get(user=alice).organization, []
    others = [Organization.objects.create(name=name) for name in ("second", "third")]
    RunCounter.objects.create(organization=own, last=3)
    now, first_rows = timezone.now(), orders._first_rows
    for number in range(3):
        for organization in (own, *others):
            is_own = organization == own
            ended = {
                "status": "completed",
                "started_at": now - timedelta(hours=2 if is_own else 1),
                "completed_at": now,
            }
            pk = new_job_id(now + timedelta(seconds=number + 10 * is_own * (1 if sort == "newest" else -1)))
            cost, name = Decimal(9 if is_own else number), "a" if is_own else f"b {number}"
            make_job(pk=pk, organization=organization, config_name=name, cost_usd=cost, last_loss=-cost, **ended)

    def spy(part: Any, organizations: Any, count: int) -> list[tuple[Any, ...]]:
        read.append(rows := list(first_rows(part, organizations, count)))
        return rows

    monkeypatch.setattr(orders, "_first_rows", spy)
    every = [*(one.pk for one in others), own.pk]
    for people in ((), (alice.pk,)):
        read.clear()
        assert len(orders.first_ids_of_each(Job.objects.all(), every, sort, "", 3, people=people)) == 3
        assert [len(rows) for rows in read if rows] == [3]


@pytest.mark.sqlite
def test_of_a_persons_many_jobs_each_organizations_order_is_walked(alice: User, make_job: MakeJob) -> None:
    """With a million jobs SQLite took the index of the person for each of fifty organizations: 1.7 s."""
    job, found = make_job(), Job.objects.filter(submitted_by__in=[alice.pk])
    with CaptureQueriesContext(connection) as queries:
        assert orders.first_ids_of_each(found, [job.organization_id, 0], "name", "", 50) == [job.pk]
    statements = [query["sql"] for query in queries if "UNION ALL" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statements[0]}")
        steps = [step for *_, step in cursor.fetchall() if "jobs_job" in step]
    assert steps == ["SEARCH jobs_job USING COVERING INDEX job_list_name (organization_id=?)"] * 2
    assert statements[0].count('+"jobs_job"."submitted_by_id"') == 2


@pytest.mark.parametrize(
    ("asked", "number"),
    [("tag=lora", 4), ("tag=lora&period=7d", 2), ("tag=lora&hardware=h100", 2), ("tag=lora&search=flux", 4)],
)
def test_many_carriers_of_a_tag_are_counted_as_few_are(
    make_job: MakeJob, alice: User, monkeypatch: pytest.MonkeyPatch, asked: str, number: int
) -> None:
    now, other = timezone.now(), Organization.objects.create(name="others")
    for place in range(12):
        fields = {"organization": other} if place % 3 == 0 else {}
        pk = new_job_id(now - timedelta(days=40 * (place % 2)))
        job = make_job(pk=pk, hardware_profile="h100" if place < 6 else "cpu", config_name="flux", **fields)
        for name in ("lora", "other") if place % 3 < 2 else ("other",):
            tag, _ = Tag.objects.get_or_create(organization=job.organization, name=name, name_key=name)
            JobTag.objects.create(job=job, tag=tag)
    found = found_by((alice, teams_of(alice)), read_query(QueryDict(asked))[0])
    assert found.count() == number
    for module, most in ((search, "MOST_IDS"), (search, "MOST_ROWS")):
        monkeypatch.setattr(module, most, 0)
    found = found_by((alice, teams_of(alice)), read_query(QueryDict(asked))[0])
    assert found.count() == number and not any(criterion.is_few for criterion in found.criteria)


@pytest.mark.sqlite
@pytest.mark.parametrize("asked", ["tag=lora", "tag=lora&period=7d"])
def test_carriers_of_a_tag_are_counted_without_their_jobs(
    make_job: MakeJob, alice: User, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    make_job()
    monkeypatch.setattr(search, "MOST_ROWS", -1)
    found = found_by((alice, teams_of(alice)), read_query(QueryDict(asked))[0])
    sql, params = found.counted.values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        steps = [line[-1] for line in cursor.fetchall()]
    assert len(steps) == 3 and all("COVERING INDEX" in step for step in steps), steps


def test_its_columns_lead_to_their_orders_and_keep_the_filter(alice: User, make_job: MakeJob) -> None:
    make_job()
    page = read_page(alice, "/?provider=local&sort=duration")
    assert re.findall(r'aria-sort="(\w+)"> <a href="([^"]*)"', page) == [
        ("descending", "?provider=local&amp;sort=duration")
    ]
    orders = ["name", "status", "cost", "duration", "newest"]
    assert re.findall(r'<th[^>]*> <a href="\?provider=local&amp;sort=(\w+)"', page) == orders


@pytest.mark.parametrize("sort", ["name", "status", "cost", "duration"])
def test_goes_on_nowhere_from_a_job_that_is_not_the_readers(charlie: User, make_job: MakeJob, sort: str) -> None:
    job = make_job(cost_usd=Decimal(5), config_name="a", status=JobStatus.UPLOADING)
    factories.make_job(organization=Organization.objects.get(name="other"), cost_usd=Decimal(1))
    assert re.findall(r"data-job=", read_page(charlie, f"/?sort={sort}&cursor={job.pk}")) == []


def plans_of(ask: Callable[[], object]) -> list[str]:
    """How the database finds each list of jobs that `ask` asks for.

    PostgreSQL is kept from reading a table that is as small as a test's from end to end, and counts its rows:
    autovacuum may have counted those of another test.
    """
    with CaptureQueriesContext(connection) as queries:
        ask()
    lists = [query["sql"] for query in queries.captured_queries if query["sql"].endswith("LIMIT 50")]
    text = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN (COSTS OFF)"
    plans = []
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "ANALYZE jobs_job;"
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
            )
        for sql in lists:
            cursor.execute(f"{text} {sql}")
            plans.append("; ".join(line[-1] for line in cursor.fetchall()))
    return plans


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("sort", "indexes"),
    [
        ("name", ["job_list_name"]),
        ("status", ["job_list_by_status"]),
        ("cost", ["job_list_cost"]),
        ("duration", ["job_list_duration", "job_list_going", "job_list_not_begun"]),
        ("loss", ["job_list_loss", "job_list_loss"]),
    ],
)
def test_each_page_is_a_range_of_its_index(make_job: MakeJob, sort: str, indexes: list[str], is_first: bool) -> None:
    now = timezone.now()
    hour = {"started_at": now - timedelta(hours=1), "completed_at": now}
    # Without jobs of others the index of all organizations would be as good for PostgreSQL.
    others = Organization.objects.bulk_create(Organization(name=f"other {number}") for number in range(9))
    for number in range(99):
        make_job(status=JobStatus.CANCELLED, last_loss=number / 99, organization=others[number % 9], **hour)
    job = make_job(status=JobStatus.COMPLETED, last_loss=0.5, **hour)
    own = Job.objects.filter(organization=job.organization)
    plans = plans_of(lambda: orders.first_ids(own, sort, "" if is_first else job.pk, 50))
    for plan, index in zip(plans, indexes, strict=True):
        assert f"{index} " in f"{plan} "
        assert "TEMP B-TREE" not in plan and "Sort" not in plan
        if not is_first and index not in ("job_list_going", "job_list_not_begun", "job_list_loss"):
            assert ",id)" in plan or "ROW(" in plan  # not all that have the same value are read


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("reader", "asked", "index"),
    [
        ("alice", "search=flux&status=failed", "job_list_by_status"),
        ("root", "status=cancelled&provider=local", "job_by_status_listed"),
        ("root", "person=alice&provider=slurm&status=failed", "job_by_person"),
    ],
)
def test_one_status_or_person_is_counted_by_an_index_alone(
    make_job: MakeJob,
    alice: User,
    root: User,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    asked: str,
    index: str,
) -> None:
    monkeypatch.setattr(search, "named", lambda *_: None)  # very many have the name
    make_job()
    user = {"alice": alice, "root": root}[reader]
    query, _ = read_query(QueryDict(asked))
    sql, params = found_by((user, teams_of(user)), query).counted.values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        [step] = [line[-1] for line in cursor.fetchall()]
    assert step.startswith(f"SEARCH jobs_job USING COVERING INDEX {index} "), step
