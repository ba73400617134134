"""The page of one job without a browser: who gets it, what is written into it, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from approvals import decisions, intake
from approvals.intake import SubmissionRequest
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.configs.submission import Submission
from jobs.costs.texts import cost_texts
from jobs.dashboard.job_detail import seconds_left
from jobs.models import Job, LogPiece, Membership
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from tests import factories
from tests.web import body_of, queries_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def get(user: User | None, address: str, status: int = 200) -> str:
    """What `user` gets there."""
    client = Client()
    if user is not None:
        client.force_login(user)
    answer = client.get(address)
    assert answer.status_code == status
    return body_of(answer).decode()


def page_of(job: Job) -> str:
    return f"/jobs/{job.pk}"


def submit(user: User, **fields: Any) -> Job:
    submission = Submission(
        **{
            "provider": "local",
            "config": {"max_train_steps": 10},
            "config_name": "flux",
            "hardware_profile": "cpu",
            **fields,
        }
    )
    organization = Membership.objects.get(user=user).organization
    return intake.submit(SubmissionRequest(user, organization, submission, Source.API)).job


def keep_log(job: Job, *texts: str) -> None:
    """A log as we keep it of a provider that forgets."""
    for text in texts:
        end = job.log_size + len(text.encode())
        LogPiece.objects.create(job=job, start=job.log_size, end=end, text=text)
        job.log_size = end
    job.save(update_fields=["log_size"])


TABS = ("", "/log", "/curves", "/results", "/config", "/history")
PARTS = (
    *TABS,
    "/parts/head",
    "/parts/details",
    "/parts/history",
    "/parts/runs",
    "/log.txt",
    "/config.json",
    "/dataloader.json",
)


class TestAccess:
    @pytest.mark.parametrize("part", PARTS)
    def test_members_get_it_and_strangers_get_nothing(
        self, bob: User, charlie: User, make_job: MakeJob, part: str
    ) -> None:
        job = make_job(config_name="a-secret")
        get(bob, page_of(job) + part)
        assert "a-secret" not in get(charlie, page_of(job) + part, 404)

    @pytest.mark.parametrize("part", PARTS)
    def test_of_no_job_there_is_none(self, bob: User, part: str) -> None:
        get(bob, f"/jobs/{'0' * 26}{part}", 404)
        get(bob, f"/jobs/%00{part}", 404)

    def test_nobody_is_sent_to_the_login_and_a_script_is_told(self, make_job: MakeJob) -> None:
        job = make_job()
        assert Client().get(page_of(job))["Location"] == f"/login?next=/jobs/{job.pk}"
        get(None, page_of(job) + "/parts/head", 401)

    def test_a_deleted_job_has_no_page(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(status=JobStatus.FAILED)
        lifecycle.delete(job, actor=Actor.of(alice), source=Source.API)
        assert "Page not found" in get(alice, page_of(job), 404)

    def test_the_id_at_the_provider_leads_to_it(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(external_id="abc123")
        client = Client()
        client.force_login(alice)
        assert client.get("/jobs/abc123")["Location"] == page_of(job)
        assert client.get("/jobs/abc123/log")["Location"] == f"{page_of(job)}/log"

    def test_there_are_no_other_parts_and_nothing_is_changed_by_it(self, alice: User, make_job: MakeJob) -> None:
        job = make_job()
        get(alice, page_of(job) + "/parts/secrets", 404)
        client = Client()
        client.force_login(alice)
        assert client.post(page_of(job)).status_code == 405


def menu_of(page: str) -> str:
    return page.partition('<div class="menu-items">')[2].partition("</details>")[0]


class TestHead:
    def test_the_likely_act_stands_beside_the_menu(self, alice: User, bob: User, make_job: MakeJob) -> None:
        def beside(user: User, job: Job) -> str:
            return get(user, page_of(job)).partition('class="job-acts"')[2].partition('<details class="menu">')[0]

        assert 'data-act="cancel"' in beside(alice, make_job(status=JobStatus.RUNNING))
        assert 'data-act="retry"' in beside(alice, make_job(status=JobStatus.FAILED))
        assert "Run again with changes" in beside(alice, make_job(status=JobStatus.COMPLETED))
        ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))
        held = submit(alice)
        assert 'data-act="cancel"' in beside(alice, held)
        assert ">Review</a>" in beside(bob, held)

    def test_names_the_job_by_its_number(self, alice: User) -> None:
        submit(alice)
        assert ">#2</span>" in get(alice, page_of(submit(alice)))

    def test_the_tab_that_is_open_is_marked(self, alice: User, make_job: MakeJob) -> None:
        job = make_job()
        for tab in TABS:
            marked = re.findall(r'href="([^"]+)"\s+aria-current="page"', get(alice, page_of(job) + tab))
            assert page_of(job) + tab in marked

    def test_slurms_own_number_and_the_nodes_stand_beside_the_marker(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(external_id="ct-0123", metadata={"slurm_job_id": 97, "slurm_nodes": "n[1-2]"})
        page = read_page(alice, page_of(job))
        assert re.search(r"job <code class=\"code-id\" ?>97</code> of Slurm on n\[1-2\]</span>", page)
        assert "of Slurm" not in read_page(alice, page_of(make_job(external_id="x")))

    def test_who_may_do_what(self, alice: User, bob: User, make_job: MakeJob) -> None:
        menus = {
            status: re.findall(r'data-act="(\w+)"\s+(disabled)?', menu_of(get(alice, page_of(make_job(status=status)))))
            for status in (JobStatus.RUNNING, JobStatus.FAILED, JobStatus.COMPLETED)
        }
        possible = {status: [act for act, disabled in menu if not disabled] for status, menu in menus.items()}
        assert possible == {"running": ["cancel"], "failed": ["retry", "delete"], "completed": ["delete"]}
        assert {tuple(act for act, _ in menu) for menu in menus.values()} == {("cancel", "retry", "delete")}
        assert "data-act" not in get(alice, page_of(make_job(submitted_by=bob, status=JobStatus.FAILED)))

    def test_a_name_stays_text(self, alice: User, make_job: MakeJob) -> None:
        page = get(alice, page_of(make_job(config_name="<b>\"'🚂 שלום", error_message="<i>", status=JobStatus.FAILED)))
        assert "<bdi>&lt;b&gt;&quot;&#x27;🚂 שלום</bdi>" in page
        assert "<b>" not in page
        assert "<i>" not in page

    def test_only_an_address_of_the_web_becomes_a_link(self, alice: User, make_job: MakeJob) -> None:
        made = {"status": JobStatus.COMPLETED}
        assert 'href="javascript' not in get(alice, page_of(make_job(output_url="javascript:alert(1)", **made)))
        assert 'href="https://example.org/x.tar"' in get(
            alice, page_of(make_job(output_url="https://example.org/x.tar", **made))
        )

    def test_a_retry_and_its_origin_lead_to_each_other(self, alice: User, make_job: MakeJob) -> None:
        first = make_job(status=JobStatus.FAILED)
        second = make_job(retry_of=first, attempt=2)
        assert f'href="{page_of(second)}">attempt 2' in read_page(alice, page_of(first))
        assert f'href="{page_of(first)}">the previous attempt' in read_page(alice, page_of(second))
        lifecycle.delete(first, actor=Actor.of(alice), source=Source.API)
        assert page_of(first) not in get(alice, page_of(second))

    def test_the_cost(self, make_job: MakeJob) -> None:
        running = {"status": JobStatus.RUNNING, "estimated_cost_usd": Decimal(3)}
        assert cost_texts(make_job(cost_usd=Decimal(1), **running)) == ("$1.00 so far", "about $3.00 expected")
        assert cost_texts(make_job(cost_usd=Decimal(1), status=JobStatus.COMPLETED)) == ("$1.00", "")
        assert cost_texts(make_job(status=JobStatus.CANCELLED)) == ("$0.00", "")
        assert cost_texts(make_job(**running)) == ("", "about $3.00 expected")
        free = ("$0.00", "own hardware")
        assert cost_texts(make_job(**running | {"estimated_cost_usd": Decimal(0)})) == free
        assert cost_texts(make_job(status=JobStatus.COMPLETED, started_at=timezone.now())) == free
        doubt = "there is no price for cpu."
        assert cost_texts(make_job(cost_doubt=doubt)) == ("Not known", "")
        partly = make_job(cost_doubt=doubt, cost_usd=Decimal(1), **running)
        assert cost_texts(partly) == ("Not known, at least $1.00", "about $3.00 expected")

    def test_why_the_cost_is_not_known(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(cost_doubt="there is no price for cpu.", estimate_source="operator's figure")
        page = get(alice, page_of(job))
        assert "There is no price for cpu." in page
        assert "operator&#x27;s figure" not in page, "that is where an estimate is from"


class TestTimeLeft:
    def test_follows_from_the_pace_up_to_the_last_word(self, make_job: MakeJob) -> None:
        now = timezone.now()
        job = make_job(
            status=JobStatus.RUNNING,
            progress=25,
            started_at=now - timedelta(seconds=130),
            progress_told_at=now - timedelta(seconds=30),
        )
        assert seconds_left(job, now) == pytest.approx(270)

    def test_is_past_its_estimate_a_minute_after_it_though_no_progress_came(
        self, alice: User, make_job: MakeJob
    ) -> None:
        job = make_job(status=JobStatus.RUNNING, progress=50)

        def page_after(seconds: float) -> str:
            """Its page so long after its probable end."""
            started = timezone.now() - timedelta(minutes=10, seconds=seconds)
            Job.objects.filter(pk=job.pk).update(started_at=started, progress_told_at=started + timedelta(minutes=5))
            return get(alice, page_of(job))

        assert "Done in a moment" in page_after(30)
        page = page_after(15 * 60)
        assert "Past its estimate" in page and "Done in a moment" not in page

    @pytest.mark.parametrize(
        "fields",
        [
            {"progress": None},
            {"progress": 0.5},
            {"progress": 100},
            {"started_at": None},
            {"cancel_requested_at": timezone.now()},
            {"status": JobStatus.COMPLETED},
        ],
    )
    def test_is_not_said_when_nothing_tells_it(self, make_job: MakeJob, fields: dict[str, Any]) -> None:
        started = timezone.now() - timedelta(seconds=100)
        job = make_job(**{"status": JobStatus.RUNNING, "progress": 50, "started_at": started, **fields})
        assert seconds_left(job, timezone.now()) is None


class TestPanels:
    def test_say_where_it_stands_and_what_would_lift_it(self, alice: User) -> None:
        first, second = submit(alice), submit(alice, config_name="second")
        assert "Starts in a moment." in get(alice, page_of(first))
        page = get(alice, page_of(second))
        assert "2nd in line" in page
        assert "Not known yet" in page

    def test_show_a_held_job_its_rule_and_the_reviewer_the_way_to_decide(self, alice: User, bob: User) -> None:
        ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"), approvals_needed=2)
        job = submit(alice)
        alices, bobs = get(alice, page_of(job)), get(bob, page_of(job))
        assert "Holds jobs above $0.50 or of unknown cost" in alices
        assert "2 approvals by leads and admins" in alices
        assert "Only leads and admins of the organization can decide" in alices
        assert ">Review</a>" not in alices
        assert "This request needs 2 approvals, but only 1 can approve." in alices
        assert ">Review</a>" in bobs

    def test_are_gone_after_the_decision_which_the_history_has(self, alice: User, bob: User) -> None:
        ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))
        job = submit(alice)
        decisions.reject(ApprovalRequest.objects.get(), user=bob, source=Source.ADMIN, notes="<too> dear")
        assert 'class="panels"' not in get(alice, page_of(job))
        assert ">Review</a>" not in get(bob, page_of(job))
        steps = get(alice, page_of(job) + "/history").partition("</ol>")[0]
        assert "<strong>Rejected</strong>" in steps
        assert "By bob: &lt;too&gt; dear" in steps

    def test_who_asked_for_it_is_sent_to_nobody_where_nobody_else_may_approve(self, bob: User) -> None:
        ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))
        page = get(bob, page_of(submit(bob)))
        assert "You can’t approve your own job." in page
        assert "Ask another lead" not in page
        assert "nobody can approve" in page

    def test_have_nothing_to_say_of_an_ended_job(self, alice: User, make_job: MakeJob) -> None:
        waiting, ended = make_job(), make_job(status=JobStatus.COMPLETED, config_name="of-old")
        claims.enqueue(waiting, role=Role.RESEARCHER, held=False, actor=Actor.of(alice), source=Source.API)
        assert 'class="panels"' in get(alice, page_of(waiting))
        page = get(alice, page_of(ended))
        assert "of-old" in page and 'class="panels"' not in page


def test_what_a_provider_wrote_is_shown_with_its_white_space_and_no_other(alice: User, make_job: MakeJob) -> None:
    message = "  out of memory:\n" + "  lower train_batch_size\n" * 10
    job = make_job(status="failed", error_message=message)
    assert f">{message}</pre>" in get(alice, page_of(job))


def test_the_cause_of_a_failure_comes_first(alice: User, make_job: MakeJob) -> None:
    message = 'Traceback (most recent call last):\n  File "train.py"\ntorch.OutOfMemoryError: CUDA out of memory.'
    job = make_job(status="failed", error_message=message)
    page = get(alice, page_of(job))
    assert '<p class="job-error-line" dir="auto">torch.OutOfMemoryError: CUDA out of memory.</p>' in page
    assert "Lower the batch size" in page
    assert page.index("job-error-line") < page.index("Traceback (most recent")
    listed = get(alice, "/")
    assert "torch.OutOfMemoryError: CUDA out of memory." in listed
    assert "Traceback" not in listed


def test_a_failure_without_a_word_says_so(alice: User, make_job: MakeJob) -> None:
    page = get(alice, page_of(make_job(status="failed")))
    assert "The job failed without an error message." in page
    assert "Find it in the log" not in page
    assert "The whole error" not in page


@pytest.mark.parametrize(("tab", "most"), [("", 36), ("/log", 29), ("/config", 30), ("/history", 30)])
def test_the_page_costs_few_queries_however_long_its_history(
    tab: str, most: int, alice: User, make_job: MakeJob
) -> None:
    job = make_job()
    claims.enqueue(job, role=Role.RESEARCHER, held=False, actor=Actor.of(alice), source=Source.API)
    client = Client()
    client.force_login(alice)
    factories.make_job(organization=job.organization, retry_of=job)
    claims.enqueue(make_job(), role=Role.RESEARCHER, held=False, actor=Actor.of(alice), source=Source.API)
    few = queries_of(client, page_of(job) + tab)
    for number in range(30):
        factories.make_job(organization=job.organization, retry_of=job, attempt=number + 2)
        claims.enqueue(make_job(), role=Role.RESEARCHER, held=False, actor=Actor.of(alice), source=Source.API)
    assert queries_of(client, page_of(job) + tab) == few <= most


def test_the_page_its_log_and_its_curves_are_compressed(alice: User, make_job: MakeJob) -> None:
    job = make_job(provider="replicate", external_id="abc", status=JobStatus.COMPLETED)
    keep_log(job, *(f"step {step}/40 loss: 0.{step}\n" for step in range(10, 40)))
    client = Client(headers={"Accept-Encoding": "gzip"})
    client.force_login(alice)
    parts = (page_of(job), page_of(job) + "/log.txt")
    for address in (*parts, f"/api/cloud/jobs/{job.pk}/logs", f"/api/cloud/jobs/{job.pk}/metrics"):
        assert client.get(address)["Content-Encoding"] == "gzip", address


def test_a_shortened_id_leads_to_the_page_and_an_ambiguous_one_nowhere(
    client: Client, alice: User, make_job: MakeJob
) -> None:
    client.force_login(alice)
    job = make_job(id="01m81da9kqkb7r5gyetc6bkhja")
    assert client.get(f"/jobs/{job.pk[:12]}")["Location"] == page_of(job)
    make_job(id="01m81da9kqkb7r5gyetc6bkhjb")
    assert client.get(f"/jobs/{job.pk[:12]}").status_code == 404
