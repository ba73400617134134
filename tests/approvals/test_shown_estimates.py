"""Wherever an estimate is shown, both of its ends are, and what it is from."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from rest_framework.test import APIClient

from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.notices.sending import send_due
from jobs.configs.reading import read_config
from jobs.costs.pace import kind_of
from jobs.models import Job, ProviderConfig
from tests.factories import make_job
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User], APIClient]
CONFIG = {"model_family": "flux", "model_type": "lora", "max_train_steps": 1000}
RANGE, SOURCE = "$2.00 to $4.00", "from 5 runs of flux LoRA on CPU"


@pytest.fixture
def dear(submission_request: Callable[..., SubmissionRequest], first_job_rule: ApprovalRule) -> Outcome:
    """A held job of alice's at two to four dollars."""
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0.001})
    for seconds in (2, 2, 4, 4, 4):
        make_job(status="completed", training_kind=kind_of(read_config(CONFIG)), seconds_per_step=seconds)
    return submit(submission_request(config=CONFIG))


@pytest.mark.parametrize("address", ["/jobs/{}", "/queue", "/approvals"])
def test_on_the_pages(dear: Outcome, bob: User, address: str) -> None:
    page = read_page(bob, address.format(dear.job.pk))
    assert RANGE in page
    assert SOURCE in page


def test_in_the_admin(dear: Outcome, root: User) -> None:
    page = read_page(root, f"/admin/approvals/approvalrequest/{ApprovalRequest.objects.get().pk}/change/")
    assert RANGE in page
    assert f"1000 steps of about 2 to 4 s ({SOURCE}), at $0.001 a second on CPU." in page


def test_in_the_mail(dear: Outcome, bob: User, mailoutbox: list[EmailMessage]) -> None:
    send_due()
    assert f"about {RANGE}, {SOURCE}" in mailoutbox[0].body


@pytest.fixture
def free(submission_request: Callable[..., SubmissionRequest], first_job_rule: ApprovalRule) -> Outcome:
    """A held job of alice's on own hardware."""
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0})
    return submit(submission_request(config=CONFIG))


@pytest.mark.parametrize(
    ("address", "text"),
    [("/jobs/{}", "$0.00, own hardware"), ("/", "$0.00"), ("/approvals", "$0.00, own hardware")],
)
def test_that_it_costs_nothing_is_on_the_pages(free: Outcome, bob: User, address: str, text: str) -> None:
    assert text in re.sub("<[^>]*>", "", read_page(bob, address.format(free.job.pk)))


def test_that_it_costs_nothing_is_in_the_admin_and_the_mail(
    free: Outcome, bob: User, root: User, mailoutbox: list[EmailMessage]
) -> None:
    page = read_page(root, f"/admin/approvals/approvalrequest/{ApprovalRequest.objects.get().pk}/change/")
    assert "$0.00, own hardware" in page
    assert "$0.00 (own hardware) on CPU." in page
    send_due()
    assert "Cost        $0.00, own hardware" in mailoutbox[0].body


def test_over_the_api(dear: Outcome, client_of: ClientOf, bob: User) -> None:
    client = client_of(bob)
    job = client.get(f"/api/cloud/jobs/{dear.job.pk}").json()["job"]
    [approval] = client.get("/api/approvals").json()["approvals"]
    body = {"config": CONFIG, "dry_run": True}
    foreseen = client.post("/api/cloud/jobs/submit?provider=local", body, format="json").json()
    for shown in (job, approval, foreseen):
        assert shown["estimated_cost_usd"] == 4
        assert shown["estimated_cost_range"] == {"low": 2, "high": 4}
        assert shown["estimate_source"] == SOURCE
    assert foreseen["estimated_seconds"] == 4000
    assert foreseen["estimated_seconds_range"] == {"low": 2000, "high": 4000}


def test_of_a_job_from_before_the_range_the_one_figure_is_shown(client_of: ClientOf, dear: Outcome, bob: User) -> None:
    Job.objects.filter(pk=dear.job.pk).update(estimated_cost_low_usd=None, estimate_source=None)
    job = client_of(bob).get(f"/api/cloud/jobs/{dear.job.pk}").json()["job"]
    assert (job["estimated_cost_range"], job["estimate_source"]) == ({"low": 4, "high": 4}, None)
    assert "about $4.00 expected" in read_page(bob, f"/jobs/{dear.job.pk}")


def test_without_a_figure_of_the_operator_the_job_is_held_and_says_why(
    submission_request: Callable[..., SubmissionRequest],
) -> None:
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0.001}, seconds_per_step=0)
    ApprovalRule.objects.create(name="dear", cost_exceeds=Decimal(1000))
    held = submit(submission_request(config=CONFIG)).approval
    assert held is not None
    assert "no run of flux LoRA on CPU has ended, and no seconds per step are set for local." in held.reason
