"""Each provider has an address and a secret of its own: what comes for one never touches another one's jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.test import Client

from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.statuses import JobStatus
from jobs.webhooks import asgi, batcher, inbox, signing_secret
from tests.accounts import Accounts, declared
from tests.configuration import WriteConfig
from tests.jobs.webhooks.deliveries import body_of, sign
from tests.wait import wait_until

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No account has told its secret yet."""
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    signing_secret.clear_cache()
    yield
    signing_secret.clear_cache()


@pytest.fixture
def jobs(make_job: MakeJob) -> dict[str, Job]:
    """A job at each, by the provider's name; their trainings have the same id."""
    made = {name: make_job(provider=name, status=JobStatus.QUEUED) for name in ("replicate", "studio")}
    Job.objects.update(external_id="t-1")
    for job in made.values():
        job.refresh_from_db()
    return made


def deliver(name: str, body: bytes, secret: str, delivery: str = "msg_1") -> int:
    headers: Any = sign(body, secret, delivery=delivery)
    return Client().post(f"/api/webhooks/{name}", body, content_type="application/json", headers=headers).status_code


def statuses() -> dict[str, str]:
    return dict(Job.objects.values_list("provider", "status"))


@pytest.mark.parametrize("name", ["replicate", "studio"])
def test_a_delivery_moves_the_job_of_its_own_provider_alone(
    name: str, accounts: Accounts, jobs: dict[str, Job]
) -> None:
    assert deliver(name, body_of(jobs[name]), accounts[name].webhook_secret) == 200
    assert statuses() == {"replicate": "queued", "studio": "queued", name: "running"}
    assert WebhookDelivery.objects.get().provider == name


@pytest.mark.parametrize(("name", "other"), [("replicate", "studio"), ("studio", "replicate")])
def test_what_the_other_account_signed_is_refused(
    name: str, other: str, accounts: Accounts, jobs: dict[str, Job]
) -> None:
    assert deliver(name, body_of(jobs[name]), accounts[other].webhook_secret) == 401
    assert statuses() == {"replicate": "queued", "studio": "queued"}
    assert (WebhookDelivery.objects.get().provider, WebhookDelivery.objects.get().verdict) == (name, "forged")


def test_the_same_id_of_a_delivery_at_both_is_two_deliveries(accounts: Accounts, jobs: dict[str, Job]) -> None:
    for name in ("replicate", "studio", "studio"):
        assert deliver(name, body_of(jobs[name]), accounts[name].webhook_secret) == 200
    assert statuses() == {"replicate": "running", "studio": "running"}
    assert sorted(WebhookDelivery.objects.values_list("provider", "repeats")) == [("replicate", 0), ("studio", 1)]


def test_an_arrival_at_one_does_not_say_that_the_others_arrive(accounts: Accounts, jobs: dict[str, Job]) -> None:
    for name, job in jobs.items():
        ProviderConfig.objects.update_or_create(name=name, defaults={"webhooks_missed_at": job.created_at})
    assert deliver("studio", body_of(jobs["studio"]), accounts["studio"].webhook_secret) == 200
    missed = ProviderConfig.objects.filter(webhooks_missed_at__isnull=False)
    assert list(missed.values_list("name", flat=True)) == ["replicate"]


@pytest.mark.slow
def test_one_account_that_is_away_keeps_no_delivery_of_the_other_from_being_taken(
    accounts: Accounts, jobs: dict[str, Job]
) -> None:
    secret = accounts["studio"].webhook_secret
    accounts["studio"].stop()
    assert deliver("studio", body_of(jobs["studio"]), secret) == 503
    assert deliver("replicate", body_of(jobs["replicate"]), accounts["replicate"].webhook_secret) == 200
    assert statuses() == {"replicate": "running", "studio": "queued"}


@pytest.mark.parametrize("name", ["local", "moon"])
def test_one_that_takes_no_webhooks_has_no_address(name: str, accounts: Accounts) -> None:
    assert deliver(name, b"{}", accounts["replicate"].webhook_secret) == 404
    assert not WebhookDelivery.objects.exists()


def test_one_that_is_taken_out_of_the_file_has_no_address_until_it_is_back(
    accounts: Accounts, jobs: dict[str, Job], write_config: WriteConfig
) -> None:
    secret = accounts["studio"].webhook_secret
    write_config("background:\n")
    assert deliver("studio", body_of(jobs["studio"]), secret) == 404
    write_config(declared(accounts["studio"]))
    assert deliver("studio", body_of(jobs["studio"]), secret) == 200
    assert statuses() == {"replicate": "queued", "studio": "running"}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["short", "django"])
def test_one_account_that_is_slow_to_tell_its_secret_keeps_nobody_elses_delivery_waiting(
    accounts: Accounts, web_server: str, make_job: MakeJob, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(signing_secret, "FETCH_SECONDS", 2.0)
    if way == "django":
        monkeypatch.setattr(asgi, "MAX_BODY_BYTES", -1)
    made = {name: make_job(provider=name, status=JobStatus.QUEUED, external_id="t-1") for name in accounts}
    accounts["studio"].faults.add("hang", path="/secret$", seconds=30)
    answers = {}

    def deliver_to(name: str) -> None:
        body = body_of(made[name])
        headers = sign(body, accounts[name].webhook_secret)
        answers[name] = httpx.post(f"{web_server}/api/webhooks/{name}", content=body, headers=headers, timeout=30)

    waiting = threading.Thread(target=deliver_to, args=("studio",))
    waiting.start()
    wait_until(lambda: accounts["studio"].requests.count("GET", "/v1/webhooks/default/secret") == 1)
    deliver_to("replicate")
    assert waiting.is_alive()
    assert answers["replicate"].status_code == 200
    waiting.join()
    assert answers["studio"].status_code == 503
    assert statuses() == {"replicate": "running", "studio": "queued"}
