"""Two accounts at Replicate on one site, one of the environment and one of the file: nothing of theirs ever mixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from jobs.models import Job
from jobs.statuses import JobStatus
from jobs.sync import refresh
from jobs.webhooks import signing_secret
from queueing import claims, dispatch
from queueing.models import QueueEntry
from tests.accounts import Accounts, declared
from tests.configuration import WriteConfig

# A dispatch calls its provider from a thread of its own.
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ClientOf = Callable[[User], APIClient]
CONFIG = {"model_type": "lora", "model_family": "flux", "max_train_steps": 100}
PRICES = "    cost_per_second: {h100: 0.002}\n"


@pytest.fixture
def submit(accounts: Accounts, client_of: ClientOf, alice: User) -> Callable[..., Any]:
    """Submit a job of alice's over the API."""

    def send(name: str, **body: Any) -> Any:
        request = {"config": CONFIG, "hardware_profile": "h100", **body}
        return client_of(alice).post(f"/api/cloud/jobs/submit?provider={name}", request, format="json")

    return send


def jobs() -> dict[str, Job]:
    return {job.provider: job for job in Job.objects.all()}


def test_each_job_is_trained_followed_and_paid_at_its_own_account(
    accounts: Accounts, submit: Callable[..., Any], write_config: WriteConfig
) -> None:
    write_config(declared(accounts["studio"], PRICES))
    for name in accounts:
        assert submit(name).status_code == 201
    assert dispatch.run_pass() == 2
    for name, job in jobs().items():
        (made,) = accounts[name].predictions
        assert (job.external_id, accounts[name].predictions.marked(job.submission_marker or "")) == (made.id, [made])
        accounts[name].update(made.id, "processing")
    (ended,) = accounts["studio"].predictions
    accounts["studio"].update(ended.id, "succeeded")
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    assert {name: job.status for name, job in jobs().items()} == {"replicate": "running", "studio": "completed"}
    assert jobs()["studio"].cost_doubt is None
    assert str(jobs()["replicate"].cost_doubt) == "there is no price for h100."


def test_a_cancel_reaches_its_own_account_alone(
    accounts: Accounts, submit: Callable[..., Any], client_of: ClientOf, alice: User
) -> None:
    for name in accounts:
        submit(name)
    dispatch.run_pass()
    assert client_of(alice).post(f"/api/cloud/jobs/{jobs()['studio'].pk}/cancel").status_code == 200
    refresh.cancel_at_providers([jobs()["studio"]])
    cancels = {name: server.requests.count("POST", "/v1/predictions/{id}/cancel") for name, server in accounts.items()}
    assert cancels == {"replicate": 0, "studio": 1}
    assert [made.status for made in accounts["studio"].predictions] == ["canceled"]


def test_a_training_that_asks_for_webhooks_asks_for_those_of_its_own_name(
    accounts: Accounts, submit: Callable[..., Any], client_of: ClientOf, root: User
) -> None:
    for name in accounts:
        body = {"webhook_url": "https://train.example.org"}
        assert client_of(root).put(f"/api/cloud/providers/{name}", body, format="json").status_code == 200
        submit(name)
    dispatch.run_pass()
    for name, server in accounts.items():
        (made,) = server.predictions
        assert str(made.webhook).startswith(f"https://train.example.org/api/webhooks/{name}?ct=")


def test_an_outage_of_one_leaves_the_others_jobs_alone(accounts: Accounts, submit: Callable[..., Any]) -> None:
    for name in accounts:
        submit(name)
    dispatch.run_pass()
    accounts["studio"].stop()
    (made,) = accounts["replicate"].predictions
    accounts["replicate"].update(made.id, "processing")
    for _ in range(3):
        refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    assert {name: job.status for name, job in jobs().items()} == {"replicate": "running", "studio": "queued"}


def test_a_throttled_account_pauses_its_own_jobs_alone(accounts: Accounts, submit: Callable[..., Any]) -> None:
    accounts["studio"].faults.add("throttle", method="POST", seconds=30)
    for name in ("studio", "studio", "replicate"):
        submit(name)
    dispatch.run_pass()
    entries = QueueEntry.objects.order_by("id").values_list("provider", "status")
    assert sorted(entries) == [("replicate", "running"), ("studio", "pending"), ("studio", "pending")]
    assert list(claims._paused_until) == ["studio"]


def test_a_dry_run_tells_of_its_own_account(
    accounts: Accounts, submit: Callable[..., Any], write_config: WriteConfig
) -> None:
    write_config(declared(accounts["studio"], PRICES))
    answers = {name: submit(name, dry_run=True).json() for name in accounts}
    assert answers["studio"]["estimated_cost_range"] == {"low": 0.2, "high": 0.2}
    assert answers["replicate"]["estimated_cost_range"] is None
    assert not Job.objects.exists()


def test_one_without_its_token_says_so_at_the_submission_and_its_job_waits_for_it(
    accounts: Accounts, submit: Callable[..., Any], write_config: WriteConfig, tmp_path: Any
) -> None:
    lab = declared(accounts["studio"]).replace("token: ${STUDIO_ACCOUNT}", f"token_file: {tmp_path}/token")
    write_config(lab)
    (warning,) = [one for one in submit("studio").json()["warnings"] if "access" in one]
    assert warning.startswith("This site may have no access to The studio's account: the job may fail or wait.")
    dispatch.run_pass()
    assert jobs()["studio"].status == JobStatus.PENDING
    (tmp_path / "token").write_text(accounts["studio"].token)
    QueueEntry.objects.update(not_before=None)
    assert dispatch.run_pass() == 1
    assert jobs()["studio"].status == JobStatus.QUEUED


def test_each_has_a_webhook_secret_of_its_own(accounts: Accounts) -> None:
    signing_secret.clear_cache()
    assert {name: signing_secret.secret(name) for name in accounts} == {
        name: server.webhook_secret for name, server in accounts.items()
    }
    signing_secret.clear_cache()


def test_versions_of_a_trainer_are_looked_up_by_account(accounts: Accounts, submit: Callable[..., Any]) -> None:
    for name in ("replicate", "studio", "studio"):
        submit(name)
    dispatch.run_pass()
    for server in accounts.values():
        assert [one.path for one in server.requests].count("/v1/models/simpletuner/advanced-trainer-h100/versions") >= 1
