"""A running job that nears what was approved: those who approved it are asked for more, and decide."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from approvals.decisions import approve, cancel, expire
from approvals.expiry import close_orphans
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.fuses.watch import check_fuses
from jobs.models import Job, JobEvent, ProviderConfig
from tests.approvals.conftest import CONFIG

pytestmark = pytest.mark.django_db
Client = Callable[[User | None], APIClient]
PRICE = 0.01


@pytest.fixture(autouse=True)
def price(db: None) -> None:
    ProviderConfig.objects.update_or_create(name="local", defaults={"cost_per_second": {"cpu": PRICE}})


@pytest.fixture
def running(request_: ApprovalRequest, bob: User) -> Job:
    """A job of alice's that bob approved up to $30; it runs, and has cost $24."""
    assert approve(request_, user=bob, source=Source.API, up_to=Decimal(30))
    now = timezone.now()
    began = {"started_at": now - timedelta(hours=1), "external_id": "x", "last_synced_at": now}
    Job.objects.update(status="running", cost_usd=Decimal(24), fuse_action="ask", **began)
    return Job.objects.get()


def costs(job: Job, amount: str) -> dict[str, int]:
    Job.objects.filter(pk=job.pk).update(cost_usd=Decimal(amount), last_synced_at=timezone.now())
    return check_fuses()


def the_raise() -> ApprovalRequest:
    return ApprovalRequest.objects.select_related("job").get(raise_to_usd__isnull=False)


def post(client: APIClient, job: Job, **body: Any) -> Any:
    return client.post(f"/api/cloud/jobs/{job.pk}/fuse", body, format="json")


def test_at_its_limit_those_who_approved_it_are_asked_once(running: Job) -> None:
    Job.objects.update(progress=72.0)
    assert costs(running, "29.9") == {"warned": 1, "asked": 1, "cancelled": 0}
    assert costs(running, "31") == {"warned": 0, "asked": 0, "cancelled": 0}
    request = the_raise()
    assert (request.status, request.raise_to_usd) == ("pending", Decimal("51.92"))
    assert request.reason == "It has cost $29.90 of $30.00. At this pace it will cost $41.53."
    assert [item.rule_name for item in request.requirements.all()] == ["first_job"]
    assert Notice.objects.filter(kind="approval_requested", data__approval_id=request.pk).count() == 1
    notes = JobEvent.objects.filter(job=running, actor="fuse", reason__contains="continues until $33.00")
    assert notes.get().reason.endswith("The reviewers are asked for $51.92.")


def test_beyond_the_grace_it_is_cancelled_and_the_request_goes(running: Job) -> None:
    costs(running, "29.9")
    assert costs(running, "32.9")["cancelled"] == 1
    job = Job.objects.get()
    assert job.cancel_requested_by == "fuse"
    assert costs(running, "33.1") == {"warned": 0, "asked": 0, "cancelled": 0}
    assert lifecycle.finish(job, "cancelled", actor=Actor(name="local"), source=Source.POLL, reason="")  # type: ignore[arg-type]
    assert the_raise().status == "pending", "the signal follows the commit"
    assert close_orphans(source=Source.LOOP) == 1
    assert the_raise().status == "cancelled"


def test_an_approval_raises_it_and_stands_for_retries(running: Job, client_of: Client, bob: User) -> None:
    costs(running, "29.9")
    request = the_raise()
    answer = client_of(bob).post(f"/api/approvals/{request.pk}/approve", {"up_to_usd": 45}, format="json")
    assert answer.status_code == 200
    job = Job.objects.get()
    assert (job.max_cost_usd, job.fuse_asked_at, job.status) == (Decimal(45), None, "running")
    assert ApprovalRequest.objects.get(raise_to_usd=None).up_to_usd == 45
    assert costs(running, "32.9")["cancelled"] == 0
    assert request.decisions.get().up_to_usd == 45


def test_without_a_number_it_may_cost_what_was_asked_for(running: Job, bob: User) -> None:
    costs(running, "29.9")
    assert approve(the_raise(), user=bob, source=Source.API)
    assert Job.objects.get().max_cost_usd == Decimal("37.5")


def test_a_rejection_ends_the_grace(running: Job, client_of: Client, bob: User) -> None:
    costs(running, "29.86")
    answer = client_of(bob).post(f"/api/approvals/{the_raise().pk}/reject", {"reason": "too dear"}, format="json")
    assert answer.status_code == 200
    job = Job.objects.get()
    assert (job.status, job.cancel_requested_at) == ("running", None)
    assert job.max_cost_usd == 30
    assert costs(running, "29.9") == {"warned": 0, "asked": 0, "cancelled": 1}


@pytest.mark.parametrize("end", ["expire", "cancel"])
def test_nobody_decides_or_it_is_taken_back(running: Job, end: str, alice: User) -> None:
    costs(running, "29.86")
    request = the_raise()
    if end == "expire":
        ApprovalRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now())
        assert expire(the_raise(), source=Source.LOOP)
    else:
        assert cancel(request, actor=Actor.of(alice), source=Source.API)
    assert Job.objects.get().status == "running"
    assert costs(running, "29.9")["cancelled"] == 1


def test_the_submitter_asks_before_it_is_reached(running: Job, client_of: Client, alice: User) -> None:
    refused = post(client_of(alice), running, max_cost_usd=50)
    assert (refused.status_code, refused.json()["code"]) == (409, "more_than_approved")
    asked = post(client_of(alice), running, max_cost_usd=50, ask=True, reason="it converges")
    assert (asked.status_code, asked.json()["asked"], asked.json()["max_cost_usd"]) == (200, True, 30)
    request = the_raise()
    assert (request.raise_to_usd, request.reason) == (Decimal(50), "it converges")
    again = post(client_of(alice), running, max_cost_usd=60, ask=True)
    assert (again.status_code, again.json()["code"]) == (409, "asked_already")
    assert ApprovalRequest.objects.filter(raise_to_usd__isnull=False).count() == 1


def test_asking_for_what_is_approved_sets_it(running: Job, client_of: Client, alice: User) -> None:
    assert post(client_of(alice), running, max_cost_usd=28).status_code == 200
    answer = post(client_of(alice), running, max_cost_usd=30, ask=True)
    assert answer.json() == {"success": True, "job_id": running.pk, "max_cost_usd": 30, "asked": False}
    assert Job.objects.get().max_cost_usd == 30


def test_who_may_approve_alone_raises_it_at_once(running: Job, client_of: Client, alice: User, bob: User) -> None:
    assert post(client_of(alice), running, max_cost_usd=50, ask=True).status_code == 200
    assert post(client_of(bob), running, max_cost_usd=60).status_code == 200
    assert Job.objects.get().max_cost_usd == 60
    assert the_raise().status == "cancelled", "nobody need decide about less"


def test_a_lead_whom_the_rule_does_not_ask_raises_nothing(running: Job, client_of: Client, bob: User) -> None:
    ApprovalRequest.objects.get().requirements.update(reviewer_role="admin")
    refused = post(client_of(bob), running, max_cost_usd=60)
    assert (refused.status_code, refused.json()["code"]) == (409, "more_than_approved")
    assert Job.objects.get().max_cost_usd == 30


def test_a_raise_below_what_is_spent_changes_nothing(running: Job, client_of: Client, bob: User) -> None:
    costs(running, "29.9")
    request = the_raise()
    answer = client_of(bob).post(f"/api/approvals/{request.pk}/approve", {"up_to_usd": 20}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "spent_already")
    assert the_raise().status == "pending"
    assert not request.decisions.exists()
    same = client_of(bob).post(f"/api/approvals/{request.pk}/approve", {"up_to_usd": 30}, format="json")
    assert (same.status_code, same.json()["code"]) == (409, "no_raise")


def test_a_raise_is_too_late_while_it_is_being_cancelled(running: Job, client_of: Client, bob: User) -> None:
    costs(running, "29.9")
    costs(running, "33")
    answer = client_of(bob).post(f"/api/approvals/{the_raise().pk}/approve", {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "being_cancelled")
    assert Job.objects.get().max_cost_usd == 30
    assert post(client_of(bob), running, max_cost_usd=60).json()["code"] == "being_cancelled"


def test_a_running_job_is_not_held_by_a_raise(running: Job, client_of: Client, alice: User) -> None:
    costs(running, "29.9")
    shown = client_of(alice).get(f"/api/cloud/jobs/{running.pk}").json()["job"]
    assert (shown["status"], shown["approval_status"]) == ("running", "approved")
    assert "Held" not in (shown["waiting_reason"] or "")
    listed = client_of(alice).get("/api/approvals?status=pending").json()["approvals"]
    assert [one["raise_to_usd"] for one in listed] == [37.5]


def test_without_an_approval_the_submitter_is_told(make_job: Callable[..., Job]) -> None:
    now = timezone.now()
    began = {"started_at": now - timedelta(hours=1), "last_synced_at": now, "external_id": "y"}
    job = make_job(status="running", cost_usd=Decimal("9.9"), max_cost_usd=Decimal(10), fuse_action="ask", **began)
    assert check_fuses() == {"warned": 1, "asked": 1, "cancelled": 0}
    assert not ApprovalRequest.objects.exists()
    told = Notice.objects.filter(kind="job_cost_warning", job_id=job.pk).order_by("pk")
    assert [one.subject.endswith("You can raise the limit until then.") for one in told] == [False, True]


def test_the_lowest_limit_and_the_strictest_action_of_all_rules_count(
    submission_request: Callable[..., SubmissionRequest], first_job_rule: ApprovalRule
) -> None:
    ApprovalRule.objects.filter(pk=first_job_rule.pk).update(max_cost_usd=40, fuse_action="ask", fuse_grace_percent=20)
    ApprovalRule.objects.create(name="cpus", hardware="cpu", max_cost_usd=30, fuse_action="cancel")
    ApprovalRule.objects.create(name="gpus", hardware="gpu*", max_cost_usd=1)
    submit(submission_request(config=CONFIG, max_cost_usd=Decimal(35), fuse_action="ask"))
    job, request = Job.objects.get(), ApprovalRequest.objects.get()
    assert (job.max_cost_usd, job.fuse_action, job.fuse_grace_percent) == (Decimal(30), "cancel", 20)
    assert request.up_to_usd == 30
    assert [item.max_cost_usd for item in request.requirements.all()] == [40, 30]


def test_what_was_shown_is_what_was_approved(
    client_of: Client, alice: User, bob: User, submission_request: Callable[..., SubmissionRequest], first_job_rule: Any
) -> None:
    submit(submission_request(max_cost_usd=Decimal(10)))
    job = Job.objects.get()
    assert post(client_of(alice), job, max_cost_usd=1000).json()["code"] == "more_than_approved"
    assert post(client_of(alice), job, max_cost_usd=8).status_code == 200
    assert approve(ApprovalRequest.objects.select_related("job").get(), user=bob, source=Source.API)
    assert post(client_of(alice), job, max_cost_usd=10).status_code == 200
    assert Job.objects.get().max_cost_usd == 10
