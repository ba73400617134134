"""What the rules would do, and whether anybody is left to decide."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone
from rest_framework.test import APIClient

from approvals import health
from approvals.intake import SubmissionRequest
from approvals.models import ApprovalRequest, ApprovalRule, Requirement
from approvals.reviewers import request_warnings
from approvals.rules.backtest import back_test
from jobs.identifiers import new_job_id
from jobs.models import Job, Organization
from jobs.permissions import visible_jobs

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
MakeJob = Callable[..., Job]
URL = "/api/approvals/rules/preview"
SUBMISSION = {"config": {"max_train_steps": 10}, "config_name": "flux"}


def past(make: MakeJob, days: float, **fields: object) -> Job:
    at = timezone.now() - timedelta(days=days)
    return make(id=new_job_id(at), created_at=at, **fields)


def test_a_preview_says_which_rule_holds_and_why_each_other_does_not(
    alice: User, client_of: ClientOf, first_job_rule: ApprovalRule
) -> None:
    ApprovalRule.objects.create(name="gpus", hardware="gpu-*", priority=1)
    answer = client_of(alice).post(URL, {"submission": SUBMISSION, "provider": "local"}).json()["submission"]
    assert (answer["requires_approval"], answer["rule"]) == (True, "first_job")
    verdicts = [(rule["type"], rule["holds"], rule["reason"]) for rule in answer["rules"]]
    assert verdicts == [
        ("gpus", False, "The hardware is CPU, not gpu-*."),
        ("first_job", True, "This is the first job of alice."),
    ]
    assert not Job.objects.exists()


def test_a_draft_is_tried_on_the_jobs_of_thirty_days(alice: User, make_job: MakeJob, client_of: ClientOf) -> None:
    past(make_job, 31, estimated_cost_usd=Decimal(100))
    past(make_job, 3, estimated_cost_usd=Decimal(100), cost_usd=Decimal(90), config_name="dear")
    past(make_job, 2, estimated_cost_usd=Decimal(1), cost_usd=Decimal(1))
    past(make_job, 1, cost_usd=Decimal("0.5"))
    past(make_job, 0.5, cost_usd=Decimal(9), cost_doubt="there is no price for cpu.", config_name="unpriced")
    answer = client_of(alice).post(URL, {"rule": {"condition": {"cost_exceeds": 50}}}).json()["rule"]
    assert (answer["days"], answer["looked_at"], answer["would_have_held"], answer["cost_usd"]) == (30, 4, 3, 90.5)
    assert answer["jobs_of_unknown_cost"] == 1
    assert [(job["config_name"], job["cost_usd"]) for job in answer["jobs"]] == [
        ("unpriced", None),
        ("flux-lora", 0.5),
        ("dear", 90),
    ]


def test_a_back_test_counts_the_jobs_beyond_the_limit(alice: User, make_job: MakeJob, client_of: ClientOf) -> None:
    for cost in (90, 30, 31):
        past(make_job, 3, estimated_cost_usd=Decimal(100), cost_usd=Decimal(cost))
    draft = {"condition": {"cost_exceeds": 50}, "max_cost_usd": 30}
    answer = client_of(alice).post(URL, {"rule": draft}).json()["rule"]
    assert (answer["would_have_held"], answer["jobs_beyond_limit"]) == (3, 2)


def test_a_preview_of_a_held_submission_has_all_reasons_and_who_decides(
    alice: User, client_of: ClientOf, first_job_rule: ApprovalRule
) -> None:
    ApprovalRule.objects.create(name="cpus", hardware="cpu", priority=1, approvals_needed=2, reviewer_role="admin")
    answer = client_of(alice).post(URL, {"submission": SUBMISSION, "provider": "local"}).json()["submission"]
    assert answer["reason"] == "The hardware CPU is restricted. This is the first job of alice."
    assert [(rule["approvals_needed"], rule["decided_by"]) for rule in answer["rules"]] == [
        (2, "admins"),
        (1, "leads and admins"),
    ]
    nothing = client_of(alice).post(URL, {"submission": SUBMISSION | {"config_name": "x"}, "provider": "replicate"})
    assert nothing.json()["submission"]["rule"] == "first_job"


def test_a_back_test_counts_what_other_rules_hold_as_well(
    alice: User, charlie: User, make_job: MakeJob, client_of: ClientOf, acme: Organization
) -> None:
    past(make_job, 2, config_name="flux")
    past(make_job, 1, config_name="sdxl")
    ApprovalRule.objects.create(name="flux", config_name="flux", priority=-5)
    ApprovalRule.objects.create(name="own", organization=acme, config_name="*", enabled=False)
    ApprovalRule.objects.create(name="theirs", organization=Organization.objects.get(name="other"))
    answer = client_of(alice).post(URL, {"rule": {"condition": {"hardware": "cpu"}}}).json()
    assert answer["rule"]["would_have_held"] == 2
    assert [job["other_rules"] for job in answer["rule"]["jobs"]] == [[], ["flux"]]
    assert [rule["name"] for rule in answer["other_rules"]] == ["flux"]


def test_a_draft_is_told_of_the_sites_rules_and_of_its_own_organizations_alone(
    charlie: User, client_of: ClientOf, acme: Organization
) -> None:
    ApprovalRule.objects.create(name="site", provider="local")
    ApprovalRule.objects.create(name="apart", provider="replicate")
    ApprovalRule.objects.create(name="acmes", organization=acme)
    ApprovalRule.objects.create(name="theirs", organization=Organization.objects.get(name="other"))
    draft = {"organization": "other", "condition": {"provider": "local"}}
    answer = client_of(charlie).post(URL, {"rule": draft}).json()
    assert [rule["name"] for rule in answer["other_rules"]] == ["site", "theirs"]


def test_a_back_test_knows_what_was_first_and_how_many_there_were(alice: User, make_job: MakeJob) -> None:
    at = timezone.now() - timedelta(days=5)
    past(make_job, 5, submission_started_at=at + timedelta(seconds=5))
    for hours in (1, 2, 3):
        past(make_job, 4 + hours / 24)
    jobs = visible_jobs(alice)
    assert len(back_test(ApprovalRule(name="first", first_job=True), jobs).held) == 1
    assert len(back_test(ApprovalRule(name="many", jobs_in_day_exceed=2), jobs).held) == 2


def test_a_back_test_of_one_organizations_rule_leaves_others_out(
    root: User, acme: Organization, make_job: MakeJob
) -> None:
    past(make_job, 1)
    past(make_job, 2, organization=Organization.objects.create(name="other"))
    tested = [back_test(ApprovalRule(first_job=True, organization=of), visible_jobs(root)) for of in (acme, None)]
    assert [(test.looked_at, len(test.held)) for test in tested] == [(1, 1), (2, 2)]


def test_a_back_test_sees_what_its_asker_may_see(charlie: User, make_job: MakeJob, client_of: ClientOf) -> None:
    past(make_job, 1)
    answer = client_of(charlie).post(URL, {"rule": {"condition": {"first_job": True}}}).json()["rule"]
    assert (answer["looked_at"], answer["jobs"]) == (0, [])
    assert client_of(None).post(URL, {"rule": {}}).status_code == 401


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Send a submission, a rule, or both."),
        ({"rule": {}}, "at least one criterion"),
        ({"rule": {"condition": {"cost_exceeds": -1}}}, "greater than or equal to 0"),
        ({"rule": {"organization": "other", "condition": {}}}, "belong to no organization"),
        ({"submission": {}}, "Send either config"),
        ({"submission": SUBMISSION, "provider": "moon"}, "There is no provider “moon”"),
    ],
)
def test_a_preview_that_makes_no_sense_is_refused(
    alice: User, client_of: ClientOf, body: dict[str, object], text: str
) -> None:
    response = client_of(alice).post(URL, body)
    assert response.status_code == 400
    assert text in response.json()["detail"]


def test_a_request_that_nobody_can_decide_warns(
    submission_request: Callable[..., SubmissionRequest],
    alice: User,
    first_job_rule: ApprovalRule,
    client_of: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = client_of(alice).post("/api/cloud/jobs/submit", {"config": {"max_train_steps": 10}}).json()
    assert "This request needs 1 approval, but nobody can approve." in answer["warnings"][0]
    assert "Nobody can decide about an approval request" in [record.getMessage() for record in caplog.records]
    assert "1 approval request has too few reviewers" in health.warning()
    parts = {part["name"]: part for part in client_of(alice).get("/api/cloud/health").json()["components"]}
    assert (parts["approvals"]["status"], parts["approvals"]["message"]) == ("degraded", health.warning())


def test_nothing_is_wrong_while_somebody_can(request_: ApprovalRequest, bob: User) -> None:
    assert health.warning() == ""


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        ({}, False),
        ({"approvals_needed": 2}, True),
        ({"reviewer_role": "admin"}, True),
        ({"requested_by": "bob"}, True),
        ({"requested_by": "bob", "self_approval": True}, False),
        ({"reviewer_group": "few"}, True),
        ({"reviewer_group": "many"}, False),
    ],
)
def test_the_health_counts_the_same_people_as_the_request_does(
    request_: ApprovalRequest, alice: User, bob: User, fields: dict[str, Any], lacking: bool
) -> None:
    few, many = Group.objects.create(name="few"), Group.objects.create(name="many")
    few.user_set.add(alice, User.objects.create(username="no-member"))
    many.user_set.add(bob)
    named = {"few": few, "many": many, "bob": bob}
    for name, value in fields.items():
        rows = ApprovalRequest.objects if name == "requested_by" else Requirement.objects
        rows.update(**{name: named.get(value, value)})
    assert bool(health.warning()) is lacking
    assert bool(request_warnings(ApprovalRequest.objects.get())) is lacking
