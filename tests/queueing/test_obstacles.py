"""What a submitter is told of a provider that can't take a job now: over the API, in a dry run and for a retry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import Job, ProviderConfig
from queueing.models import ProviderLimit, QueueState

pytestmark = pytest.mark.django_db
CONFIG = {"max_train_steps": 10}
ClientOf = Callable[[User | None], APIClient]


@pytest.fixture
def warned(alice: User, client_of: ClientOf) -> Callable[..., list[str]]:
    """The warnings of a submission, which are those of its dry run."""

    def submit(provider: str = "local", **fields: Any) -> list[str]:
        body = {"config": CONFIG, **fields}
        address = f"/api/cloud/jobs/submit?provider={provider}"
        dry: list[str] = client_of(alice).post(address, {**body, "dry_run": True}).json()["warnings"]
        made = client_of(alice).post(address, body)
        assert made.status_code == 201, "it is taken all the same"
        assert made.json()["warnings"] == dry
        return dry

    return submit


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_not-a-real-one")


def test_a_provider_that_can_take_it_is_no_reason_to_warn(warned: Callable[..., list[str]], token: None) -> None:
    ProviderConfig.objects.create(name="replicate", outage_failures=3, outage_until=timezone.now())
    ProviderLimit.objects.create(provider="replicate", drained=False)
    assert warned() == warned("replicate") == []


def test_a_paused_queue(warned: Callable[..., list[str]]) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    assert warned() == ["The queue is paused. The job waits until an admin resumes it."]


def test_a_provider_that_is_drained(warned: Callable[..., list[str]], token: None) -> None:
    ProviderLimit.objects.create(provider="replicate", drained=True)
    (warning,) = warned("replicate")
    assert warning.startswith("Replicate is being drained")
    assert warned("local") == []


@pytest.mark.parametrize(("failures", "text"), [(1, "once"), (4, "4 times in a row")])
def test_a_provider_that_does_not_answer(
    warned: Callable[..., list[str]], token: None, failures: int, text: str
) -> None:
    until = timezone.now() + timedelta(minutes=1)
    ProviderConfig.objects.create(name="replicate", outage_failures=failures, outage_until=until)
    assert warned("replicate") == [
        f"Replicate could not be reached {text}. The job may wait until Replicate answers again."
    ]


def test_a_provider_without_its_token(
    warned: Callable[..., list[str]], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    assert warned("replicate") == [
        "This site may have no access to Replicate: the job may fail or wait. Ask a superuser before you submit it."
    ]
    assert warned("local") == []
    alice.is_superuser = True
    alice.save()
    (for_superusers,) = warned("replicate")
    assert for_superusers.startswith("REPLICATE_API_TOKEN is not set")


def test_a_provider_that_is_switched_off_refuses(alice: User, client_of: ClientOf) -> None:
    ProviderConfig.objects.create(name="replicate", enabled=False)
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=replicate", {"config": CONFIG})
    assert (answer.status_code, Job.objects.count()) == (400, 0)


def test_a_retry_warns_too(alice: User, client_of: ClientOf, make_job: Callable[..., Job]) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    job = make_job(status="failed")
    (warning,) = client_of(alice).post(f"/api/cloud/jobs/{job.pk}/retry").json()["warnings"]
    assert warning.startswith("The queue is paused")


def test_an_address_that_is_never_called(warned: Callable[..., list[str]]) -> None:
    (warning,) = warned(webhook_url="http://127.0.0.1/hook")
    assert warning.startswith("webhook_url will not be called. 127.0.0.1 is a private address.")
    assert warned(webhook_url="https://example.org/hook") == []


def test_a_retry_of_a_job_with_such_an_address(alice: User, client_of: ClientOf, make_job: Callable[..., Job]) -> None:
    job = make_job(status="failed", webhook_url="http://127.0.0.1/hook")
    (warning,) = client_of(alice).post(f"/api/cloud/jobs/{job.pk}/retry").json()["warnings"]
    assert warning.startswith("webhook_url will not be called.")
