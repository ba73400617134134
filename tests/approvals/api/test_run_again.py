"""Runs with changes over HTTP: what they are made from, what they keep of it, and who may make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from approvals.models import ApprovalRule
from jobs.configs.secrets import sealed_columns, unsealed_columns
from jobs.models import Job, JobEvent, Membership, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
MakeJob = Callable[..., Job]
SUBMIT = "/api/cloud/jobs/submit"
TOKEN = "hf_notarealtoken1"


@pytest.fixture
def parent(make_job: MakeJob) -> Job:
    config = {"max_train_steps": 10, "learning_rate": 1e-4, "hub_token": TOKEN}
    columns = sealed_columns(config=config, dataloader_config=[{"id": "cats"}], webhook_url="")
    return make_job(status=JobStatus.COMPLETED, config_name="flux-portraits", tracker_run_name="first", **columns)


def begin(client: APIClient, job: Job) -> dict[str, Any]:
    answer = client.get(f"/api/cloud/jobs/{job.pk}/next-run")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def run_of(client: APIClient, job: Job, **config: Any) -> Job:
    submission = begin(client, job)["submission"]
    submission["config"] |= config
    answer = client.post(f"{SUBMIT}?provider=local", submission, format="json")
    assert answer.status_code == 201, answer.json()
    return Job.objects.get(pk=answer.json()["job_id"])


def test_it_begins_with_the_parents_submission(client_of: ClientOf, alice: User, parent: Job) -> None:
    body = begin(client_of(alice), parent)
    assert body["provider"] == "local"
    assert body["submission"] == {
        "parent": parent.pk,
        "config": {"max_train_steps": 10, "learning_rate": 1e-4, "hub_token": "***"},
        "dataloader_config": [{"id": "cats"}],
        "config_name": "flux-portraits-2",
        "hardware_profile": "cpu",
        "organization": "acme",
        "tracker_run_name": "first",
        "webhook_url": "",
        "dataset": "",
        "tags": [],
        "max_cost_usd": None,
        "fuse_action": None,
    }
    assert body["remarks"] == [
        "“***” is a masked secret of flux-portraits, which is used again. Replace it to use another one."
    ]


def test_a_run_keeps_its_parent_and_what_differs(client_of: ClientOf, alice: User, parent: Job) -> None:
    client = client_of(alice)
    job = run_of(client, parent, learning_rate=5e-5)
    assert (job.parent, job.root, job.retry_of, job.attempt) == (parent, parent, None, 1)
    assert job.changes == {"total": 1, "items": [{"path": "learning_rate", "before": 1e-4, "after": 5e-5}]}
    assert client.get(f"/api/cloud/jobs/{job.pk}").json()["job"]["parent"] == parent.pk
    second = run_of(client, job, learning_rate=1e-5)
    assert (second.config_name, second.parent, second.root) == ("flux-portraits-3", job, parent)
    reason = JobEvent.objects.filter(job=second).order_by("id").values_list("reason", flat=True)[0]
    assert reason == f"submitted as a run of {job.pk} with changes"
    runs = client.get(f"/api/cloud/jobs/{parent.pk}/runs").json()
    assert [(run["number"], run["parent"], run["text"]) for run in runs["runs"]] == [
        (1, None, None),
        (2, parent.pk, "learning_rate 1e-4 → 5e-5"),
        (3, job.pk, "learning_rate 5e-5 → 1e-5"),
    ]
    assert (runs["name"], runs["total"]) == ("flux-portraits", 3)


def test_secrets_are_taken_over_and_never_shown(client_of: ClientOf, alice: User, parent: Job) -> None:
    client = client_of(alice)
    job = run_of(client, parent, learning_rate=5e-5)
    assert unsealed_columns(job)["config"]["hub_token"] == TOKEN
    assert job.config["hub_token"] == "***"
    changed = run_of(client, job, hub_token="hf_anothertoken12")
    assert unsealed_columns(changed)["config"]["hub_token"] == "hf_anothertoken12"
    items = [{"path": "hub_token", "before": "***", "after": "***"}]
    assert changed.changes == {"total": 1, "items": items}
    for address in ("next-run", "runs"):
        assert "hf_" not in client.get(f"/api/cloud/jobs/{changed.pk}/{address}").content.decode()


def test_who_may_not_change_the_parent_takes_over_no_secret(
    client_of: ClientOf, acme: Organization, parent: Job
) -> None:
    client = client_of(make_user("rita", acme, Role.RESEARCHER))
    body = begin(client, parent)
    assert "Replace it with your own" in body["remarks"][0]
    answer = client.post(SUBMIT, body["submission"], format="json")
    assert answer.status_code == 400
    assert "secret that is not stored here" in answer.json()["errors"]["config"][0]
    assert run_of(client, parent, hub_token="hf_anothertoken12").parent == parent


def test_a_parent_that_one_may_not_see_is_not_there(client_of: ClientOf, charlie: User, parent: Job) -> None:
    client, body = client_of(charlie), {"config": {"max_train_steps": 1}, "parent": parent.pk}
    answers = [
        client.post(SUBMIT, body, format="json"),
        client.post(SUBMIT, {**body, "dry_run": True}, format="json"),
        client.post(SUBMIT, {**body, "parent": "0" * 26}, format="json"),
        client.get(f"/api/cloud/jobs/{parent.pk}/next-run"),
        client.get(f"/api/cloud/jobs/{parent.pk}/runs"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert answers[0].json()["detail"] == answers[2].json()["detail"]
    assert not Job.objects.filter(parent=parent).exists()


def test_a_viewer_looks_and_makes_none(client_of: ClientOf, acme: Organization, parent: Job) -> None:
    client = client_of(make_user("vera", acme, Role.VIEWER))
    submission = begin(client, parent)["submission"]
    assert client.post(SUBMIT, submission, format="json").status_code == 403


def test_it_stays_in_its_parents_organization(client_of: ClientOf, alice: User, parent: Job) -> None:
    second = Organization.objects.create(name="second")
    Membership.objects.create(user=alice, organization=second, role=Role.RESEARCHER)
    body = {"config": {"max_train_steps": 1}, "parent": parent.pk}
    answer = client_of(alice).post(SUBMIT, {**body, "organization": "second"}, format="json")
    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "organization": ["A run with changes stays in the organization of its parent, acme."]
    }
    made = client_of(alice).post(SUBMIT, body, format="json")
    assert made.status_code == 201
    assert "No organization" not in str(made.json()["warnings"])
    assert Job.objects.get(pk=made.json()["job_id"]).organization == parent.organization


def test_a_job_of_no_organization_has_none(client_of: ClientOf, root: User) -> None:
    found = Job.objects.create(provider="local", config_name="found", correlation_id="x", organization=None)
    answer = client_of(root).post(SUBMIT, {"config": {"max_train_steps": 1}, "parent": found.pk}, format="json")
    assert answer.json()["errors"] == {
        "parent": ["This job was created at its provider and belongs to no organization."]
    }


def test_a_dry_run_says_what_differs_and_stores_nothing(client_of: ClientOf, alice: User, parent: Job) -> None:
    submission = begin(client_of(alice), parent)["submission"]
    submission["config"] |= {"learning_rate": 5e-5, "seed": 7}
    answer = client_of(alice).post(SUBMIT, {**submission, "dry_run": True}, format="json").json()
    assert [item["text"] for item in answer["changes"]["items"]] == ["learning_rate 1e-4 → 5e-5", "seed nothing → 7"]
    assert Job.objects.count() == 1
    without = {"config": {"max_train_steps": 1}, "dry_run": True}
    assert client_of(alice).post(SUBMIT, without, format="json").json()["changes"] is None


def test_one_key_and_another_parent_is_another_request(client_of: ClientOf, alice: User, parent: Job) -> None:
    body = {"config": {"max_train_steps": 1}, "idempotency_key": "one", "parent": parent.pk}
    client = client_of(alice)
    assert client.post(SUBMIT, body, format="json").status_code == 201
    assert client.post(SUBMIT, body, format="json").status_code == 200
    assert client.post(SUBMIT, {**body, "parent": ""}, format="json").status_code == 409


def test_a_retry_belongs_to_the_tree_and_changes_nothing(client_of: ClientOf, alice: User, make_job: MakeJob) -> None:
    failed = make_job(status=JobStatus.FAILED)
    client = client_of(alice)
    answer = client.post(f"/api/cloud/jobs/{failed.pk}/retry")
    retried = Job.objects.get(pk=answer.json()["job_id"])
    assert (retried.retry_of, retried.root, retried.parent, retried.changes) == (failed, failed, None, None)
    assert run_of(client, retried).root == failed


def test_a_rule_sees_it_as_any_submission(client_of: ClientOf, alice: User, parent: Job) -> None:
    ApprovalRule.objects.create(name="cpus", hardware="cpu")
    client = client_of(alice)
    submission = begin(client, parent)["submission"]
    answer = client.post(f"{SUBMIT}?provider=local", submission, format="json").json()
    assert answer["requires_approval"]
