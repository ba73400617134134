"""The review queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from approvals import decisions
from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest
from cloudtrain_site.states import Source
from jobs.models import JobEvent
from queueing.models import QueueEntry
from tests.settings_pages import text_of
from tests.web import queries_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
LIST = "/admin/approvals/approvalrequest/"
MakeRequest = Callable[..., SubmissionRequest]


@pytest.fixture
def as_bob(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


def decide(client: Client, request: ApprovalRequest, decision: str, reason: str = "") -> str:
    body = {"decision": decision, "reason": reason}
    return client.post(f"{LIST}{request.pk}/decide", body, follow=True).content.decode()


def test_the_page_tells_who_asks_for_what_and_why_it_is_held(as_bob: Client, request_: ApprovalRequest) -> None:
    shown = as_bob.get(f"{LIST}{request_.pk}/change/").content.decode()
    for text in (
        "alice",
        "This is the first job of alice.",
        "max_train_steps",
        "Approve",
        "Reject",
    ):
        assert text in shown


def test_every_page_about_a_job_leads_to_the_jobs_own(as_bob: Client, request_: ApprovalRequest) -> None:
    entry = QueueEntry.objects.get()
    pages = (f"{LIST}{request_.pk}", f"/admin/queueing/queueentry/{entry.pk}", f"/admin/jobs/job/{request_.job_id}")
    for page in pages:
        assert f'href="/jobs/{request_.job_id}"' in as_bob.get(f"{page}/change/").content.decode()


def test_a_held_job_is_called_so_on_each_page_and_has_no_cost(
    as_bob: Client, request_: ApprovalRequest, submission_request: MakeRequest
) -> None:
    other = submit(submission_request()).job
    last_jobs = text_of(as_bob.get(f"{LIST}{request_.pk}/change/"))
    assert "flux: Held, no cost yet" in last_jobs
    listed, shown = as_bob.get("/admin/jobs/job/"), text_of(as_bob.get(f"/admin/jobs/job/{other.pk}/change/"))
    assert text_of(listed).count("This machine Held") == 2
    assert "Status: Held" in shown and "Estimated cost: unknown Cost: - " in shown


def test_more_jobs_cost_the_list_no_more_queries(as_bob: Client, submission_request: MakeRequest) -> None:
    counts = []
    for _ in range(3):
        submit(submission_request())
        counts.append(queries_of(as_bob, "/admin/jobs/job/"))
    assert counts[1] == counts[2]


def test_a_lead_approves_on_the_page(as_bob: Client, request_: ApprovalRequest) -> None:
    assert "1 approved." in decide(as_bob, request_, "approve", "welcome")
    decided = ApprovalRequest.objects.get()
    assert (decided.status, decided.reviewed_by, decided.review_notes) == ("approved", "bob", "welcome")
    assert JobEvent.objects.get(subject="approval", new="approved").source == Source.ADMIN


def test_a_rejection_without_a_reason_changes_nothing(as_bob: Client, request_: ApprovalRequest) -> None:
    assert "Give a reason" in decide(as_bob, request_, "reject")
    assert ApprovalRequest.objects.get().status == "pending"


def test_a_lead_rejects_on_the_page(as_bob: Client, request_: ApprovalRequest) -> None:
    assert "1 rejected." in decide(as_bob, request_, "reject", "too dear")
    assert ApprovalRequest.objects.get().status == "rejected"


def test_who_comes_too_late_is_told_what_happened(as_bob: Client, bob: User, request_: ApprovalRequest) -> None:
    decisions.reject(request_, user=bob, source=Source.API, notes="no")
    assert "lready rejected by bob at" in decide(as_bob, request_, "approve")
    assert ApprovalRequest.objects.get().status == "rejected"


def test_a_decided_or_expired_request_has_no_buttons(as_bob: Client, bob: User, request_: ApprovalRequest) -> None:
    def buttons() -> bool:
        response = as_bob.get(f"{LIST}{request_.pk}/change/")
        assert (response.status_code, "flux" in response.content.decode()) == (200, True)
        return 'value="approve"' in response.content.decode()

    assert buttons()
    deadline = request_.expires_at
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert not buttons()
    ApprovalRequest.objects.update(expires_at=deadline)
    decisions.reject(ApprovalRequest.objects.get(), user=bob, source=Source.API, notes="no")
    assert not buttons()


def test_ones_own_request_has_no_buttons_but_the_reason(as_bob: Client, bob: User, request_: ApprovalRequest) -> None:
    ApprovalRequest.objects.update(requested_by=bob)
    shown = as_bob.get(f"{LIST}{request_.pk}/change/").content.decode()
    assert 'value="approve"' not in shown
    assert "You can’t approve your own job" in shown
    assert "your own job" in decide(as_bob, request_, "approve")
    assert ApprovalRequest.objects.get().status == "pending"


@pytest.mark.parametrize("path", ["", "{}/change/", "{}/history/", "?q=flux"])
def test_a_lead_of_another_organization_finds_nothing(
    client: Client, charlie: User, request_: ApprovalRequest, path: str
) -> None:
    client.force_login(charlie)
    response = client.get(LIST + path.format(request_.pk), follow=True)
    page = response.content.decode()
    assert response.status_code == 200
    assert "No approval requests" in page if path in ("", "?q=flux") else "doesn’t exist" in page
    assert "alice" not in page


def test_a_lead_of_another_organization_decides_nothing(
    client: Client, charlie: User, request_: ApprovalRequest
) -> None:
    client.force_login(charlie)
    decide(client, request_, "approve")
    client.post(LIST, {"action": "approve_selected", "_selected_action": [request_.pk], "decision": "approve"})
    assert ApprovalRequest.objects.get().status == "pending"


def test_a_list_action_asks_for_the_reason_on_a_page_of_its_own(as_bob: Client, held: Outcome) -> None:
    chosen = {"action": "reject_selected", "_selected_action": [ApprovalRequest.objects.get().pk]}
    form = as_bob.post(LIST, chosen).content.decode()
    assert "flux" in form
    assert 'name="reason"' in form
    assert "Give a reason" in as_bob.post(LIST, {**chosen, "decision": "reject", "reason": ""}).content.decode()
    page = as_bob.post(LIST, {**chosen, "decision": "reject", "reason": "no budget"}, follow=True).content.decode()
    assert "1 rejected." in page
    assert ApprovalRequest.objects.get().review_notes == "no budget"
