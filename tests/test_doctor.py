"""What the doctor finds about providers, jobs and money: each fault by its own check, and nothing else cries."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.utils import timezone

from approvals.models import ApprovalRule
from cloudtrain_site import encryption
from jobs.doctor import providers, webhooks
from jobs.models import ClusterLook, Job, JobAccount, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import view_data
from jobs.statuses import JobStatus
from queueing.models import QueueEntry
from tests.doctor import raising_later, returning_later
from tests.doctor_faults import BAD, WARN, Faults, World, healthy, world
from tests.providers import ClusterProvider, ScriptedProvider
from tests.spending import run, spend

__all__ = ["healthy", "world"]
FAULTS = Faults()
fault = FAULTS.add


def with_webhook(world: World, answer: httpx.Response, url: str = "https://train.example.org/") -> None:
    ProviderConfig.objects.filter(pk="replicate").update(webhook_url=url)
    world.patch(webhooks, "status_of", returning_later(answer))


def with_look(world: World, **fields: Any) -> None:
    """A cluster that was looked at a moment ago."""
    provider = ClusterProvider()
    world.add(provider)
    seen = {"data": view_data(provider.view), "seen_at": timezone.now()}  # type: ignore[arg-type]
    ClusterLook.objects.create(**{"provider": provider.name, **seen, **fields})


def at_provider(world: World, **fields: Any) -> None:
    """A job that was heard of a moment ago."""
    world.add(ScriptedProvider())
    known = {
        "provider": "scripted",
        "external_id": "x-1",
        "queued_at": timezone.now(),
        "last_synced_at": timezone.now(),
    }
    world.make_job(status=JobStatus.RUNNING, **{**known, **fields})


@fault("sealed-secrets", BAD, "1 of 2 samples of the secrets of jobs can't be decrypted")
def former_key_forgotten(world: World) -> None:
    world.make_job(sealed=encryption.seal([(("config", "hub_token"), "hf_of_now")]))
    key, world.settings.SECRET_KEY = world.settings.SECRET_KEY, "k" * 20 + "another key, of before" * 3
    world.make_job(sealed=encryption.seal([(("config", "hub_token"), "hf_of_before")]))
    world.settings.SECRET_KEY = key


@fault("providers", BAD, "Scripted: the token is not valid")
def token_refused(world: World) -> None:
    provider = ScriptedProvider()
    world.patch(provider, "validate", raising_later(ProviderError("the token is not valid")))
    world.add(provider)


@fault("providers", BAD, "is not set to a single word")
def token_of_two_words(world: World) -> None:
    world.setenv("REPLICATE_API_TOKEN", "r8_one two")


@fault("provider-clocks", WARN, "clock is +12 s off that of scripted")
def clock_unlike_the_providers(world: World) -> None:
    world.add(ScriptedProvider())
    world.patch(providers, "_address_of", lambda name: "http://x" if name == "scripted" else "")
    world.patch(providers, "_offset", returning_later(12.0))


@fault("webhooks", BAD, "redirects to https://elsewhere/: deliveries don't follow")
def webhook_redirected(world: World) -> None:
    with_webhook(world, httpx.Response(301, headers={"Location": "https://elsewhere/"}))


@fault("webhooks", BAD, "answers 404: it does not belong to this site")
def webhook_elsewhere(world: World) -> None:
    with_webhook(world, httpx.Response(404))


@fault("webhooks", BAD, "is this machine's own")
def webhook_to_localhost(world: World) -> None:
    with_webhook(world, httpx.Response(405), "http://localhost:8001/")


@fault("clusters", BAD, "Lab could not be checked: Connection refused")
def cluster_away(world: World) -> None:
    with_look(world, error="Connection refused.", error_at=timezone.now())


@fault("clusters", WARN, "Lab can never run gpu: No node has 8 GPUs")
def profile_unrunnable(world: World) -> None:
    with_look(world, unrunnable={"gpu": "No node has 8 GPUs."})


@fault("clusters", WARN, "has not been checked recently")
def cluster_not_looked_at(world: World) -> None:
    with_look(world, seen_at=timezone.now() - timedelta(hours=1))


@fault("prices", WARN, "scripted: gpu has no price")
def price_missing(world: World) -> None:
    world.add(ScriptedProvider(), cost_per_second={"cpu": 0.001})


@fault("prices", WARN, "were last looked up on")
def price_old(world: World) -> None:
    world.add(ScriptedProvider(), prices_as_of=timezone.now().date() - timedelta(days=91))


@fault("prices", WARN, "cost 3.00 times their estimates")
def estimates_too_low(world: World) -> None:
    for _ in range(10):
        spend(
            timezone.now().date(), "3", estimated_cost_usd=Decimal(1), estimate_source="from 7 runs", provider="local"
        )


@fault(
    "approvals", BAD, "Nobody can decide about jobs of acme that the rule cost_exceeds holds: it needs 2 of the leads"
)
def too_few_reviewers(world: World) -> None:
    ApprovalRule.objects.filter(name="cost_exceeds").update(approvals_needed=2)


@fault("ledger", BAD, "its account says $5.000000 spent")
def ledger_differs(world: World) -> None:
    job = spend(timezone.now().date(), "3")
    JobAccount.objects.filter(job=job).update(spent=5)


@fault("ledger", BAD, "it has ended, and $2")
def ended_job_holds(world: World) -> None:
    job = run("2")
    Job.objects.filter(pk=job.pk).update(
        status=JobStatus.FAILED, completed_at=timezone.now(), last_synced_at=timezone.now()
    )


@fault("in-flight", BAD, "Cancelled over 10 minutes ago, but not confirmed by the provider: ")
def cancellation_unconfirmed(world: World) -> None:
    at_provider(world, cancel_requested_at=timezone.now() - timedelta(minutes=11))


@fault("in-flight", BAD, "Submitted, but not confirmed by the provider")
def submission_unconfirmed(world: World) -> None:
    job = world.make_job()
    QueueEntry.objects.create(job=job, provider="local", turn=1.0, unconfirmed_at=timezone.now())


@fault("in-flight", WARN, "Extra trainings of a job")
def stray(world: World) -> None:
    at_provider(world, metadata={"stray_of": "x"})


@fault("in-flight", WARN, "No update for half an hour")
def job_silent(world: World) -> None:
    at_provider(world, last_synced_at=timezone.now() - timedelta(minutes=31))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_its_check_and_nothing_else_cries(name: str, world: World) -> None:
    FAULTS[name].is_found_alone(world)
