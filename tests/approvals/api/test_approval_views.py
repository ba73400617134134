"""Submitting and deciding over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from approvals.intake import Outcome
from approvals.models import ApprovalRequest, ApprovalRule
from jobs.configs.store import store_config
from jobs.models import Job, Membership, Organization, ProviderConfig
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
CONFIG = {"max_train_steps": 10, "learning_rate": 1e-4}
URL = "/api/cloud/jobs/submit"


@pytest.fixture
def as_alice(alice: User, client_of: ClientOf) -> APIClient:
    return client_of(alice)


@pytest.fixture
def as_bob(bob: User, client_of: ClientOf) -> APIClient:
    return client_of(bob)


def test_a_submission_answers_201_in_the_contracts_shape(as_alice: APIClient) -> None:
    response = as_alice.post(URL, {"config": CONFIG, "config_name": "flux"})
    assert response.status_code == 201
    job = Job.objects.get()
    assert response.json() == {
        "success": True,
        "job_id": job.pk,
        "status": "pending",
        "idempotent_hit": False,
        "requires_approval": False,
        "approval_id": None,
        "queue_position": 1,
        "warnings": [],
        "config_warnings": [],
    }
    assert job.config_name == "flux"


def test_a_held_submission_says_so(as_alice: APIClient, first_job_rule: ApprovalRule) -> None:
    body = as_alice.post(URL, {"config": CONFIG}).json()
    assert body["requires_approval"] is True
    assert body["approval_id"] == ApprovalRequest.objects.get().pk


@pytest.mark.parametrize("where", ["body", "header"])
def test_a_replay_answers_200_with_the_same_job(as_alice: APIClient, where: str) -> None:
    body = {"config": CONFIG} | ({"idempotency_key": "k"} if where == "body" else {})
    headers = {"Idempotency-Key": "k"} if where == "header" else {}
    first = as_alice.post(URL, body, headers=headers)
    second = as_alice.post(URL, body, headers=headers)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["job_id"] == first.json()["job_id"]
    assert second.json()["idempotent_hit"] is True


def test_a_stored_config_is_submitted_by_its_name(as_alice: APIClient, alice: User, acme: Organization) -> None:
    store_config(alice, acme, "night run", CONFIG, [{"id": "set"}])
    assert as_alice.post(URL, {"config_name_to_load": "night run"}).status_code == 201
    job = Job.objects.get()
    assert (job.config, job.dataloader_config, job.config_name) == (CONFIG, [{"id": "set"}], "night run")


def test_a_dry_run_says_what_would_happen_and_stores_nothing(as_alice: APIClient, first_job_rule: ApprovalRule) -> None:
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0.1}, seconds_per_step=1)
    body = as_alice.post(URL, {"config": CONFIG, "dry_run": True}).json()
    assert body["estimated_cost_usd"] == 1.0
    assert body["rule"] == "first_job"
    assert body["reason"] == "This is the first job of alice."
    assert (body["waiting_reason"], body["estimated_wait_seconds"]) == (None, None)
    assert not Job.objects.exists()
    assert not QueueEntry.objects.exists()


def test_a_dry_run_says_when_it_would_start(as_alice: APIClient, alice: User, make_job: Callable[..., Job]) -> None:
    hour = timedelta(hours=1)
    make_job(status=JobStatus.COMPLETED, started_at=timezone.now() - hour, completed_at=timezone.now())
    QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 1})
    assert as_alice.post(URL, {"config": CONFIG, "dry_run": True}).json()["estimated_wait_seconds"] == 0.0

    for _ in range(2):
        as_alice.post(URL, {"config": CONFIG})
    QueueEntry.objects.filter(pk=QueueEntry.objects.earliest("pk").pk).update(
        status=EntryStatus.RUNNING, dispatched_at=timezone.now(), claim_token="somebody"
    )
    body = as_alice.post(URL, {"config": CONFIG, "dry_run": True}).json()
    assert (body["queue_position"], body["requires_approval"]) == (2, False)
    assert body["waiting_reason"].startswith("Your limit is reached")
    assert 7000 < body["estimated_wait_seconds"] <= 7200


def test_a_dry_run_warns_as_a_submission_does(as_alice: APIClient) -> None:
    (warning,) = as_alice.post(URL, {"config": {"seed": 1}, "dry_run": True}).json()["warnings"]
    assert warning == "Time and cost can't be estimated: max_train_steps is not set."


def test_a_doubt_about_a_dataset_is_told_too(as_alice: APIClient) -> None:
    body = {"config": CONFIG, "dataloader_config": [{"id": "clips", "num_frames": "many"}], "dry_run": True}
    answer = as_alice.post(URL, body).json()
    assert answer["estimated_cost_usd"] is None
    assert [text for text in answer["warnings"] if text.startswith("Time and cost can't be estimated: num_frames of")]


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({}, "Send either config or config_name_to_load"),
    ({"config": CONFIG, "config_name_to_load": "x"}, "not both"),
    ({"config": [1]}, "config: A config is a JSON object."),
    ({"config": "text"}, "config: A config is a JSON object."),
    ({"config": CONFIG, "colour": "red"}, "colour: Unknown field."),
    ({"config": {"a": "x" * 1_000_001}}, "config: It is larger than 1 MB."),
    ({"config": {"a": "nul\x00"}}, "config: It contains a NUL character"),
    ({"config": CONFIG, "config_name": "n" * 10_000}, "config_name: Ensure this field has no more than 200"),
    ({"config": CONFIG, "config_name": "nul\x00"}, "config_name: A name can't contain control characters"),
    ({"config": CONFIG, "config_name": "../../etc"}, "config_name: A name can't contain"),
    ({"config": CONFIG, "hardware_profile": "h100"}, "hardware_profile: local has no “h100”"),
    (
        {"config": CONFIG, "organization": "other"},
        "organization: You aren't a member of an organization called “other”",
    ),
    ({"config": CONFIG, "webhook_url": "javascript:x"}, "webhook_url: Enter a valid URL"),
    ({"config": CONFIG, "dataloader_config": {}}, "dataloader_config: Expected a list"),
    ({"config_name_to_load": "missing"}, "config_name_to_load: acme has no stored config called “missing”"),
]


@pytest.mark.parametrize(("body", "text"), BAD_BODIES)
def test_a_bad_body_is_refused_with_what_is_wrong_and_stores_nothing(
    as_alice: APIClient, body: dict[str, Any], text: str
) -> None:
    response = as_alice.post(URL, body)
    assert response.status_code == 400
    answer = response.json()
    assert text in answer["detail"]
    assert answer["code"] == "invalid"
    assert answer["correlation_id"] == response["X-Correlation-ID"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("{not json", 400),
        ("[" * 100_000, 400),
        ('{"config": {"a": NaN}}', 400),
        ("[1, 2]", 400),
        ("", 400),
        ('"text"', 400),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(as_alice: APIClient, raw: str, status: int) -> None:
    response = as_alice.generic("POST", URL, raw, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["detail"]
    assert not Job.objects.exists()


def test_a_body_of_five_megabytes_is_refused_before_it_is_read(as_alice: APIClient) -> None:
    raw = '{"config": {"a": "' + "x" * 5_000_000 + '"}}'
    response = as_alice.generic("POST", URL, raw, content_type="application/json")
    assert response.status_code == 413
    assert response.json()["code"] == "too_large"


def test_an_unknown_provider_is_refused_with_those_that_there_are(as_alice: APIClient) -> None:
    response = as_alice.post(f"{URL}?provider=moon", {"config": CONFIG})
    assert response.status_code == 400
    assert "There is no provider “moon”. There are: local" in response.json()["detail"]


def test_a_provider_that_is_switched_off_takes_nothing(as_alice: APIClient) -> None:
    ProviderConfig.objects.create(name="local", enabled=False)
    assert "disabled" in as_alice.post(URL, {"config": CONFIG}).json()["detail"]


def test_nobody_submits_anonymously(client_of: ClientOf) -> None:
    assert client_of(None).post(URL, {"config": CONFIG}).status_code == 401


def test_a_viewer_may_not_submit(acme: Organization, client_of: ClientOf) -> None:
    response = client_of(make_user("vera", acme, Role.VIEWER)).post(URL, {"config": CONFIG, "organization": "acme"})
    assert response.status_code == 403
    assert "viewer" in response.json()["detail"]


def test_who_belongs_nowhere_is_told_what_to_do(client_of: ClientOf) -> None:
    response = client_of(make_user("nora")).post(URL, {"config": CONFIG})
    assert response.status_code == 403
    assert "Ask an admin to invite you" in response.json()["detail"]


def test_a_member_of_two_is_told_where_the_job_went(as_alice: APIClient, alice: User) -> None:
    Membership.objects.create(user=alice, organization=Organization.objects.create(name="second"))
    assert as_alice.post(URL, {"config": CONFIG}).json()["warnings"] == ["No organization named. Using acme."]


def test_a_failed_job_is_run_once_more(as_alice: APIClient, make_job: Callable[..., Job]) -> None:
    old = make_job(status="failed", config=CONFIG)
    response = as_alice.post(f"/api/cloud/jobs/{old.pk}/retry")
    assert response.status_code == 201
    new = Job.objects.get(pk=response.json()["job_id"])
    assert (new.retry_of, new.attempt, new.config) == (old, 2, CONFIG)


@pytest.mark.parametrize("status", ["pending", "running", "completed"])
def test_only_a_failed_or_cancelled_job_is_run_again(
    as_alice: APIClient, make_job: Callable[..., Job], status: str
) -> None:
    job = make_job(status=status)
    assert as_alice.post(f"/api/cloud/jobs/{job.pk}/retry").status_code == 409
    assert Job.objects.count() == 1


def test_the_list_shows_requests_and_how_many_are_pending(as_bob: APIClient, held: Outcome) -> None:
    body = as_bob.get("/api/approvals").json()
    assert body["pending_count"] == 1
    (shown,) = body["approvals"]
    assert shown["job_id"] == held.job.pk
    assert (shown["status"], shown["requested_by"], shown["rule"]) == ("pending", "alice", "first_job")
    assert as_bob.get("/api/approvals?status=approved").json()["approvals"] == []


def test_a_lead_approves(as_bob: APIClient, held: Outcome, request_: ApprovalRequest) -> None:
    response = as_bob.post(f"/api/approvals/{request_.pk}/approve", {"notes": "go"})
    assert response.status_code == 200
    assert response.json() == {"success": True, "id": request_.pk, "job_id": held.job.pk, "status": "approved"}
    assert ApprovalRequest.objects.get().review_notes == "go"


def test_approving_twice_is_a_conflict_that_says_by_whom(as_bob: APIClient, request_: ApprovalRequest) -> None:
    as_bob.post(f"/api/approvals/{request_.pk}/approve")
    response = as_bob.post(f"/api/approvals/{request_.pk}/approve")
    assert response.status_code == 409
    assert "already approved by bob" in response.json()["detail"]


def test_approving_after_the_deadline_is_a_conflict(as_bob: APIClient, request_: ApprovalRequest) -> None:
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    response = as_bob.post(f"/api/approvals/{request_.pk}/approve")
    assert response.status_code == 409
    assert "expired" in response.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 10_000}, {"why": "typo"}])
def test_a_rejection_needs_a_reason(as_bob: APIClient, request_: ApprovalRequest, body: dict[str, str]) -> None:
    assert as_bob.post(f"/api/approvals/{request_.pk}/reject", body).status_code == 400
    assert ApprovalRequest.objects.get().status == "pending"


def test_a_lead_rejects_by_the_queues_address_too(as_bob: APIClient, held: Outcome) -> None:
    assert as_bob.post(f"/api/queue/{held.job.pk}/reject", {"reason": "too dear"}).status_code == 200
    assert Job.objects.get().status == "cancelled"


def test_the_requester_may_not_approve_but_take_it_back(as_alice: APIClient, request_: ApprovalRequest) -> None:
    assert as_alice.post(f"/api/approvals/{request_.pk}/approve").status_code == 403
    assert as_alice.post(f"/api/approvals/{request_.pk}/cancel").status_code == 200
    assert Job.objects.get().status == "cancelled"


def test_a_lead_does_not_approve_their_own(as_bob: APIClient, first_job_rule: ApprovalRule) -> None:
    mine = as_bob.post(URL, {"config": CONFIG}).json()["approval_id"]
    response = as_bob.post(f"/api/approvals/{mine}/approve")
    assert response.status_code == 403
    assert "your own job" in response.json()["detail"]


@pytest.mark.parametrize("verb", ["", "/approve", "/reject", "/cancel"])
def test_a_stranger_finds_nothing(request_: ApprovalRequest, charlie: User, client_of: ClientOf, verb: str) -> None:
    client = client_of(charlie)
    method = client.post if verb else client.get
    assert method(f"/api/approvals/{request_.pk}{verb}", {"reason": "x"} if verb else None).status_code == 404
    assert client.get("/api/approvals").json() == {"approvals": [], "pending_count": 0}
    assert ApprovalRequest.objects.get().status == "pending"


def test_the_rules_are_listed_with_their_conditions(as_alice: APIClient, first_job_rule: ApprovalRule) -> None:
    (rule,) = as_alice.get("/api/approvals/rules").json()["rules"]
    assert (rule["type"], rule["condition"], rule["enabled"]) == ("first_job", {"first_job": True}, True)


def test_a_setting_that_is_given_twice_with_different_values_is_refused(client_of: ClientOf, alice: User) -> None:
    config = {"--max_train_steps": 10, "max_train_steps": 1_000_000}
    answer = client_of(alice).post("/api/cloud/jobs/submit", {"config": config})
    assert answer.status_code == 400
    assert "'--max_train_steps' and as 'max_train_steps'" in answer.json()["errors"]["config"][0]
    assert not Job.objects.exists()


def test_long_reasons_are_cut_in_the_list_and_whole_for_one_request(as_bob: APIClient, held: Outcome) -> None:
    assert held.approval is not None
    address, text = f"/api/approvals/{held.approval.pk}", "no: " + "x" * 1500
    assert as_bob.post(f"{address}/reject", {"reason": text}).status_code == 200
    [listed] = as_bob.get("/api/approvals").json()["approvals"]
    whole = as_bob.get(address).json()["approval"]
    assert (listed["review_notes"], listed["decisions"][0]["reason"]) == (text[:299] + "…",) * 2
    assert (whole["review_notes"], whole["decisions"][0]["reason"]) == (text,) * 2
