"""Each provider has an address and a secret of its own: what comes for one never touches another one's jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from examples.fake_replicate import FakeReplicate
from jobs import providers
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.providers.replicate.access import Access
from jobs.providers.replicate.provider import ReplicateProvider
from jobs.statuses import JobStatus
from tests.jobs.webhooks.test_views import body_of, secret, sign  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


@pytest.fixture
def studio(fake: FakeReplicate, secret: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeReplicate]:  # noqa: F811
    """A second account, at a Replicate of its own, beside `replicate`."""
    with FakeReplicate.start(token="r8_studio") as other:
        access = {"replicate": Access(fake.url, fake.token), "studio": Access(other.url, other.token)}
        kinds = {"local": "local", "replicate": "replicate", "studio": "replicate"}
        monkeypatch.setattr(providers, "kinds_by_name", lambda: kinds)
        monkeypatch.setattr(
            ReplicateProvider, "from_settings", classmethod(lambda cls, name="replicate": cls(access[name], name=name))
        )
        yield other


@pytest.fixture
def jobs(make_job: MakeJob) -> dict[str, Job]:
    """A job at each, by the provider's name; their trainings have the same id."""
    made = {name: make_job(provider=name, status=JobStatus.QUEUED) for name in ("replicate", "studio")}
    Job.objects.update(external_id="t-1")
    for job in made.values():
        job.refresh_from_db()
    return made


def deliver(name: str, body: bytes, secret: str, delivery: str = "msg_1") -> int:  # noqa: F811
    headers: Any = sign(body, secret, delivery=delivery)
    return Client().post(f"/api/webhooks/{name}", body, content_type="application/json", headers=headers).status_code


def statuses() -> dict[str, str]:
    return dict(Job.objects.values_list("provider", "status"))


@pytest.mark.parametrize("name", ["replicate", "studio"])
def test_a_delivery_moves_the_job_of_its_own_provider_alone(
    name: str, studio: FakeReplicate, fake: FakeReplicate, jobs: dict[str, Job]
) -> None:
    own = {"replicate": fake, "studio": studio}[name]
    assert deliver(name, body_of(jobs[name]), own.webhook_secret) == 200
    assert statuses() == {"replicate": "queued", "studio": "queued", name: "running"}
    assert WebhookDelivery.objects.get().provider == name


@pytest.mark.parametrize(("name", "other"), [("replicate", "studio"), ("studio", "replicate")])
def test_what_the_other_account_signed_is_refused(
    name: str, other: str, studio: FakeReplicate, fake: FakeReplicate, jobs: dict[str, Job]
) -> None:
    signer = {"replicate": fake, "studio": studio}[other]
    assert deliver(name, body_of(jobs[name]), signer.webhook_secret) == 401
    assert statuses() == {"replicate": "queued", "studio": "queued"}
    assert (WebhookDelivery.objects.get().provider, WebhookDelivery.objects.get().verdict) == (name, "forged")


def test_the_same_id_of_a_delivery_at_both_is_two_deliveries(
    studio: FakeReplicate, fake: FakeReplicate, jobs: dict[str, Job]
) -> None:
    for name, own in (("replicate", fake), ("studio", studio), ("studio", studio)):
        assert deliver(name, body_of(jobs[name]), own.webhook_secret) == 200
    assert statuses() == {"replicate": "running", "studio": "running"}
    assert sorted(WebhookDelivery.objects.values_list("provider", "repeats")) == [("replicate", 0), ("studio", 1)]


def test_an_arrival_at_one_does_not_say_that_the_others_arrive(studio: FakeReplicate, jobs: dict[str, Job]) -> None:
    for name, job in jobs.items():
        ProviderConfig.objects.update_or_create(name=name, defaults={"webhooks_missed_at": job.created_at})
    assert deliver("studio", body_of(jobs["studio"]), studio.webhook_secret) == 200
    missed = ProviderConfig.objects.filter(webhooks_missed_at__isnull=False)
    assert list(missed.values_list("name", flat=True)) == ["replicate"]


def test_one_account_that_is_away_keeps_no_delivery_of_the_other_from_being_taken(
    studio: FakeReplicate, fake: FakeReplicate, jobs: dict[str, Job]
) -> None:
    webhook_secret = studio.webhook_secret
    studio.stop()
    assert deliver("studio", body_of(jobs["studio"]), webhook_secret) == 503
    assert deliver("replicate", body_of(jobs["replicate"]), fake.webhook_secret) == 200
    assert statuses() == {"replicate": "running", "studio": "queued"}


@pytest.mark.parametrize("name", ["local", "moon"])
def test_one_that_takes_no_webhooks_has_no_address(name: str, secret: str) -> None:  # noqa: F811
    assert deliver(name, b"{}", secret) == 404
    assert not WebhookDelivery.objects.exists()
