"""The pages without a browser: who gets in, what is written into them, and what they cost."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from approvals import intake
from approvals.intake import SubmissionRequest
from approvals.models import ApprovalRule
from cloudtrain_site.events.store import current_number
from cloudtrain_site.states import Actor, Source
from cloudtrain_site.wording.values import duration, money
from jobs import lifecycle
from jobs.configs.submission import Submission
from jobs.dashboard.rows import Row, make_rows
from jobs.models import Job, Membership, Organization
from jobs.providers import names
from jobs.providers.base import Snapshot
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from tests import factories
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def get(user: User, address: str = "/") -> str:
    return read_page(user, address)


def read_answer(user: User, address: str) -> Any:
    client = Client()
    client.force_login(user)
    return client.get(address)


def shown_names(page: str) -> list[str]:
    return re.findall(r'class="job-link"[^>]*><bdi[^>]*>([^<]*)</bdi>', page)


def row_of(job: Job, reader: User) -> Row:
    return make_rows([Job.objects.get(pk=job.pk)], reader)[0]


@pytest.fixture
def mixed_jobs(alice: User, bob: User, make_job: MakeJob) -> int:
    """Jobs in each status, of several providers and kinds of hardware, some of them held, by two sorts of reviewers."""
    for status, provider, hardware in product(JobStatus, names(), ["cpu", "gpu-t4", "gpu-h100"]):
        started = None if status == JobStatus.PENDING else timezone.now() - timedelta(minutes=5)
        job = make_job(status=status, provider=provider, hardware_profile=hardware, started_at=started)
        claims.enqueue(job, role=Role.RESEARCHER, held=False, actor=Actor.of(alice), source=Source.API)
    group = Group.objects.create(name="safety")
    held: list[dict[str, Any]] = [{"provider": "local"}, {"provider": "replicate", "reviewer_group": group}]
    for name, criteria in enumerate(held):
        ApprovalRule.objects.create(name=str(name), **criteria)
    acme = Membership.objects.get(user=alice).organization
    for provider, user in product(names(), [alice, bob]):
        intake.submit(
            SubmissionRequest(user, acme, Submission(provider, {"max_train_steps": 9}, "flux", "cpu"), Source.API)
        )
    return Job.objects.count()


@pytest.mark.parametrize(
    ("step", "total", "note"),
    [(5, 10, "5 of 10 steps"), (10, 10, "10 steps"), (None, 1000, "1,000 steps"), (5, None, "")],
)
def test_a_completed_job_says_how_many_steps_were_made(
    alice: User, make_job: MakeJob, step: int | None, total: int | None, note: str
) -> None:
    job = make_job(status=JobStatus.COMPLETED, step=step, total_steps=total)
    assert row_of(job, alice).note == note
    page = get(alice, f"/jobs/{job.pk}/parts/head")
    assert note in page.partition("</section>")[0]
    assert "job-note" not in page


class TestAccess:
    def test_nobody_is_sent_to_the_login(self, client: Client) -> None:
        answer = client.get("/?status=failed")
        assert (answer.status_code, answer["Location"]) == (302, "/login?next=/%3Fstatus%3Dfailed")

    def test_a_script_is_told_instead(self, client: Client) -> None:
        assert client.get("/jobs/rows").status_code == 401

    @pytest.mark.parametrize("address", ["/", "/jobs/rows"])
    def test_pages_are_only_read(self, alice: User, address: str) -> None:
        client = Client()
        client.force_login(alice)
        assert client.post(address).status_code == 405

    def test_a_researcher_logs_in_and_out(self, client: Client, alice: User) -> None:
        answer = client.post("/login", {"login": "alice", "password": "unused-password"})
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert client.post("/logout")["Location"] == "/login"
        assert client.get("/").status_code == 302

    def test_an_empty_site_tells_how_to_make_the_first_account(self, client: Client, db: None) -> None:
        page = client.get("/login").content.decode()
        assert "manage.py first_link" in page
        assert "Forgotten password" not in page

    def test_a_site_with_people_does_not(self, client: Client, alice: User) -> None:
        page = client.get("/login").content.decode()
        assert "first_link" not in page
        assert "Forgotten password" in page

    def test_a_login_leads_nowhere_else(self, client: Client, alice: User) -> None:
        form = {"login": "alice", "password": "unused-password", "next": "https://example.org/"}
        assert client.post("/login", form)["Location"] == "/"

    def test_the_page_is_kept_by_no_cache(self, alice: User) -> None:
        client = Client()
        client.force_login(alice)
        assert "no-store" in client.get("/")["Cache-Control"]

    def test_a_member_sees_the_organizations_jobs(self, bob: User, make_job: MakeJob) -> None:
        make_job(config_name="flux")
        assert shown_names(get(bob)) == ["flux"]

    def test_a_stranger_sees_nothing(self, charlie: User, make_job: MakeJob) -> None:
        job = make_job(config_name="flux")
        assert job.pk not in get(charlie)
        assert job.pk not in get(charlie, f"/jobs/rows?id={job.pk}")

    def test_only_who_may_administer_gets_the_link(self, alice: User, bob: User) -> None:
        assert 'href="/admin/"' in get(bob)
        assert 'href="/admin/"' not in get(alice)


class TestList:
    def test_says_what_to_do_when_there_is_none(self, alice: User) -> None:
        page = get(alice)
        assert "curl http://testserver/api/cloud/jobs/submit" in page
        assert page.count('href="/jobs/new"') == 2
        assert 'Create one on your <a href="/account">' in page

    def test_sends_somebody_without_an_organization_to_an_admin(self, db: None) -> None:
        assert "An admin of one can invite you" in get(factories.make_user("dora"))

    def test_leads_the_first_superuser_to_the_first_organization(self, root: User) -> None:
        page = get(root)
        assert 'href="/site/organizations"' in page
        assert "ask an admin" not in page

    def test_a_name_stays_text(self, alice: User, make_job: MakeJob) -> None:
        make_job(config_name="<script>alert(1)</script>\"'", error_message="<b>", status=JobStatus.FAILED)
        page = get(alice)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;" in page
        assert "<b>" not in page

    def test_has_the_newest_fifty_and_the_address_of_the_rest(self, alice: User, make_job: MakeJob) -> None:
        jobs = sorted((make_job().pk for _ in range(52)), reverse=True)
        page = get(alice)
        assert re.findall(r'data-job="(\w+)"', page) == jobs[:50]
        assert f'href="?cursor={jobs[49]}"' in page
        assert re.findall(r'data-job="(\w+)"', get(alice, f"/?cursor={jobs[49]}")) == jobs[50:]

    def test_keeps_the_filter_on_the_way_to_older_jobs(self, alice: User, make_job: MakeJob) -> None:
        for _ in range(51):
            make_job(config_name="cats & dogs", status=JobStatus.FAILED)
        page = get(alice, "/?status=failed&search=cats+%26")
        assert 'href="?status=failed&amp;search=cats+%26&amp;cursor=' in page
        assert '<a class="filter-chip" href="?search=cats+%26"' in page

    def test_filters(self, alice: User, make_job: MakeJob) -> None:
        make_job(config_name="waiting")
        make_job(config_name="failed", status=JobStatus.FAILED)
        assert shown_names(get(alice, "/?status=failed")) == ["failed"]
        assert shown_names(get(alice, "/?search=WAIT")) == ["waiting"]

    @pytest.mark.parametrize(
        "query", ["status=sleeping", "sort=colour", "search=%00", "search=" + "a" * 300, "cursor=%00"]
    )
    def test_an_address_that_means_nothing_shows_all_and_says_so(
        self, alice: User, make_job: MakeJob, query: str
    ) -> None:
        make_job(config_name="flux")
        page = get(alice, f"/?{query}")
        assert shown_names(page) == ["flux"]
        assert "Unknown filter; showing all jobs." in page

    def test_takes_the_word_of_the_tab_for_pending(self, alice: User, make_job: MakeJob) -> None:
        make_job(config_name="waits")
        make_job(config_name="failed", status=JobStatus.FAILED)
        assert shown_names(get(alice, "/?status=waiting")) == ["waits"]

    def test_of_ones_own_jobs_alone(self, alice: User, bob: User, make_job: MakeJob) -> None:
        make_job(config_name="hers")
        make_job(config_name="his", submitted_by=bob)
        assert shown_names(get(alice, "/?mine=true")) == ["hers"]

    def test_is_sent_packed_to_who_can_unpack_it(self, alice: User, make_job: MakeJob) -> None:
        for _ in range(20):
            make_job()
        client = Client(headers={"Accept-Encoding": "gzip"})
        client.force_login(alice)
        answer = client.get("/")
        assert answer["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.content).count(b"data-job=") == 20

    def test_counts_what_is_active(self, alice: User, make_job: MakeJob) -> None:
        make_job()
        make_job(status=JobStatus.QUEUED)
        make_job(status=JobStatus.RUNNING)
        page = get(alice)
        assert re.findall(r'data-tab="([\w ]+)" data-count="(\d+)"', page) == [
            ("Waiting or held", "1"),
            ("Running", "2"),
        ]

    def test_says_from_where_on_to_follow_the_stream(self, alice: User, make_job: MakeJob) -> None:
        lifecycle.request_cancel(make_job(), actor=Actor.of(alice), source=Source.API)
        assert f'data-newest="{current_number()}"' in get(alice)

    @pytest.mark.parametrize("reader", ["alice", "bob", "root"])
    def test_costs_few_queries_whatever_is_on_it(
        self, mixed_jobs: int, bob: User, root: User, reader: str, django_assert_max_num_queries: Any
    ) -> None:
        client = Client()
        client.force_login(User.objects.get(username=reader))
        client.get("/")  # the first look ever makes the queue's shared row
        with django_assert_max_num_queries(21):
            assert client.get("/").content.count(b"data-job=") == mixed_jobs


class TestRows:
    def test_are_those_asked_for(self, alice: User, make_job: MakeJob) -> None:
        job, _ = make_job(config_name="asked"), make_job(config_name="not asked")
        assert shown_names(get(alice, f"/jobs/rows?id={job.pk}")) == ["asked"]

    def test_come_alone_and_each_to_its_place(self, alice: User, make_job: MakeJob) -> None:
        answer = read_answer(alice, f"/jobs/rows?id={make_job().pk}")
        assert answer.content.count(b'hx-swap-oob="outerMorph"') == 1 + 2  # the row, and the two tabs with a number
        assert "HX-Reswap" not in answer

    def test_are_all_of_the_list_when_one_is_no_longer_in_it(self, alice: User, make_job: MakeJob) -> None:
        job, other = make_job(status=JobStatus.FAILED), make_job(config_name="runs", status=JobStatus.RUNNING)
        answer = read_answer(alice, f"/jobs/rows?status=running&id={job.pk}&id={other.pk}")
        assert answer["HX-Reswap"] == "innerMorph"
        assert shown_names(answer.content.decode()) == ["runs"]
        assert shown_names(get(alice, f"/jobs/rows?cursor={job.pk}&id={job.pk}")) == []

    @pytest.mark.parametrize("job_id", ["", "%00", "%00" * 26, "é" * 26, "a" * 5000])
    def test_of_no_job_are_all(self, alice: User, make_job: MakeJob, job_id: str) -> None:
        make_job(config_name="flux")
        assert shown_names(get(alice, f"/jobs/rows?id={job_id}")) == ["flux"]


class TestWhatIsSaid:
    def test_who_stopped_it_and_why(self, alice: User, make_job: MakeJob) -> None:
        job = make_job()
        lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.API, reason="wrong data")
        assert row_of(job, alice).note == "By alice: wrong data"

    def test_that_it_is_being_stopped(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(status=JobStatus.RUNNING, submission_started_at=timezone.now(), external_id="x")
        lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.API)
        row = row_of(job, alice)
        assert (row.label, row.may_cancel) == ("Cancelling", False)
        assert row.note == "Cancelled by alice. Waiting for local to confirm."

    def test_who_asked_for_the_end_that_its_provider_confirmed(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(status=JobStatus.RUNNING, submission_started_at=timezone.now(), external_id="x")
        lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.API)
        lifecycle.apply_snapshot(job, Snapshot(external_id="x", status=JobStatus.CANCELLED), source=Source.POLL)
        assert row_of(job, alice).note == "By alice."

    def test_why_it_failed(self, alice: User, make_job: MakeJob) -> None:
        row = row_of(make_job(status=JobStatus.FAILED, error_message="The disk is full."), alice)
        assert (row.why, row.aside) == ("The disk is full.", "")

    def test_what_it_did_beside_its_status_alone(self, alice: User, make_job: MakeJob) -> None:
        row = row_of(make_job(status=JobStatus.COMPLETED, step=10, total_steps=10), alice)
        assert (row.why, row.aside) == ("", "10 steps")

    def test_nothing_is_done_before_it_is(self, alice: User, make_job: MakeJob) -> None:
        assert row_of(make_job(status=JobStatus.RUNNING, progress=99.9), alice).percent == 99

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"cost_usd": Decimal("12.346")}, "$12.35"),
            ({"cost_usd": Decimal("0.001")}, "<$0.01"),
            ({"estimated_cost_usd": Decimal("1234.5")}, "~$1,234.50"),
            ({"estimated_cost_usd": Decimal(3), "status": JobStatus.FAILED}, "$0.00"),
            ({"estimated_cost_usd": Decimal(0)}, "$0.00"),
            ({"status": JobStatus.COMPLETED, "started_at": timezone.now()}, "$0.00"),
            ({"cost_doubt": "there is no price for cpu."}, "Not known"),
            ({"cost_doubt": "its end is not known.", "cost_usd": Decimal(3)}, "Not known, at least $3.00"),
            ({}, ""),
        ],
    )
    def test_the_cost(self, alice: User, make_job: MakeJob, fields: dict[str, Any], text: str) -> None:
        assert row_of(make_job(**fields), alice).cost == text

    def test_the_time_so_far(self, alice: User, make_job: MakeJob) -> None:
        row = row_of(make_job(status=JobStatus.RUNNING, started_at=timezone.now() - timedelta(minutes=5)), alice)
        assert row.duration.startswith("5 min")

    def test_the_organization_only_to_who_is_in_several(
        self, acme: Organization, alice: User, make_job: MakeJob
    ) -> None:
        job = make_job()
        assert row_of(job, alice).organization == ""
        Membership.objects.create(user=alice, organization=Organization.objects.create(name="second"))
        assert row_of(job, alice).organization == "acme"
        named = ['class="job-organization"' in get(alice, f"/{query}") for query in ("", "?organization=acme")]
        assert named == [True, False]


class TestWhoMayCancel:
    def test_the_submitter_leads_and_superusers(
        self, acme: Organization, alice: User, bob: User, root: User, make_job: MakeJob
    ) -> None:
        job = make_job()
        colleague = factories.make_user("carol", acme, Role.RESEARCHER)
        assert [row_of(job, user).may_cancel for user in (alice, bob, root, colleague)] == [True, True, True, False]

    def test_not_a_viewer_even_their_own(self, acme: Organization, make_job: MakeJob) -> None:
        viewer = factories.make_user("vera", acme, Role.VIEWER)
        assert not row_of(make_job(submitted_by=viewer), viewer).may_cancel

    def test_nobody_what_has_ended(self, alice: User, make_job: MakeJob) -> None:
        assert not row_of(make_job(status=JobStatus.COMPLETED), alice).may_cancel


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_money_is_never_nothing_when_it_was_something() -> None:
    assert money(Decimal("0.0001")) == "<$0.01"


@pytest.mark.parametrize("method", ["get", "head"])
def test_static_files_come_in_one_piece(client: Client, method: str) -> None:
    answer = getattr(client, method)("/static/cloudtrain/list/dashboard.js")
    assert (answer.status_code, answer.streaming) == (200, False)
    assert answer["Content-Type"].startswith("text/javascript")
    assert bool(answer.content) == (method == "get")


def test_a_static_file_that_is_known_is_not_sent_again(client: Client) -> None:
    seen = client.get("/static/cloudtrain/shell/frame.css")["Last-Modified"]
    answer = client.get("/static/cloudtrain/shell/frame.css", headers={"If-Modified-Since": seen})
    assert (answer.status_code, answer.content) == (304, b"")
