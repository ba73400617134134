"""Approve up to: the amount is bound into what was approved."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from approvals.decisions import approve
from approvals.dispatch_guard import check_approval
from approvals.intake import Outcome, SubmissionRequest
from approvals.models import ApprovalRequest
from cloudtrain_site.states import Source
from jobs.models import Job
from queueing import claims
from queueing.models import QueueEntry

pytestmark = pytest.mark.django_db
Client = Callable[[User | None], APIClient]


def approved(request: ApprovalRequest, bob: User, amount: str) -> Job:
    assert approve(request, user=bob, source=Source.API, up_to=Decimal(amount))
    return Job.objects.get()


def test_the_job_may_cost_no_more_than_was_approved(request_: ApprovalRequest, bob: User) -> None:
    assert approved(request_, bob, "30").max_cost_usd == 30
    (entry,) = claims.claim_next()
    assert check_approval(entry, Job.objects.get())


def test_a_job_that_may_cost_more_than_that_is_held_again(request_: ApprovalRequest, bob: User) -> None:
    job = approved(request_, bob, "30")
    for more in (Decimal(50), None):
        Job.objects.filter(pk=job.pk).update(max_cost_usd=more)
        (entry,) = claims.claim_next()
        assert not check_approval(entry, Job.objects.get())
        assert QueueEntry.objects.get().status == "blocked"
        again = ApprovalRequest.objects.order_by("pk").last()
        assert again is not None
        assert "up to $30.00, but the job may cost more now" in again.reason
        assert approve(again, user=bob, source=Source.API, up_to=Decimal(30))


def test_over_http(client_of: Client, held: Outcome, request_: ApprovalRequest, alice: User, bob: User) -> None:
    address = f"/api/approvals/{request_.pk}/approve"
    refused = client_of(bob).post(address, {"up_to_usd": "NaN"}, format="json")
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["up_to_usd"])
    assert client_of(bob).post(address, {"up_to_usd": 30}, format="json").status_code == 200
    assert client_of(bob).get(f"/api/approvals/{request_.pk}").json()["approval"]["up_to_usd"] == 30
    raised = client_of(alice).post(f"/api/cloud/jobs/{held.job.pk}/fuse", {"max_cost_usd": 50}, format="json")
    assert (raised.status_code, raised.json()["code"]) == (409, "more_than_approved")
    assert Job.objects.get().max_cost_usd == 30


def test_the_lowest_amount_of_several_reviewers_counts(request_: ApprovalRequest, bob: User, root: User) -> None:
    request_.requirements.update(approvals_needed=2)
    assert approve(request_, user=bob, source=Source.API, up_to=Decimal(20))
    request = ApprovalRequest.objects.select_related("job").get()
    assert approve(request, user=root, source=Source.API, notes="it is needed", bypass=True, up_to=Decimal(30))
    assert Job.objects.get().max_cost_usd == 20


def test_a_submission_may_name_what_it_may_cost(
    client_of: Client, alice: User, submission_request: Callable[..., SubmissionRequest]
) -> None:
    body = {"config": {"max_train_steps": 10}, "max_cost_usd": 12.5}
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=local", body, format="json")
    assert answer.status_code == 201
    assert Job.objects.get().max_cost_usd == Decimal("12.5")
    plain, limited = submission_request(), submission_request(max_cost_usd=Decimal(1))
    assert plain.submission.digest() != limited.submission.digest()
