"""What is done for jobs while the poller is off, since webhooks get lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from examples.fake_replicate import FakeReplicate
from jobs import lifecycle, maintenance
from jobs.health import lost_webhooks
from jobs.models import Job, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.statuses import JobStatus
from jobs.sync import circuit_breaker, refresh

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


@pytest.fixture
def webhooks_on(replicate_config: ProviderConfig) -> None:
    ProviderConfig.objects.filter(pk="replicate").update(webhook_url="https://ct.example")


def long_ago(minutes: int = 16) -> dict[str, object]:
    return {"last_synced_at": timezone.now() - timedelta(minutes=minutes)}


def test_a_silent_job_is_asked_about_and_its_news_say_that_webhooks_are_missing(
    webhooks_on: None, at_replicate: MakeJob, fake: FakeReplicate, caplog: pytest.LogCaptureFixture
) -> None:
    silent = at_replicate(submission_marker="ct-1", **long_ago())
    recent = at_replicate(submission_marker="ct-2", **long_ago(14))
    for job in (silent, recent):
        fake.update(job.external_id or "", "processing")
    with caplog.at_level(logging.WARNING):
        assert maintenance.check_silent() == 1
    silent.refresh_from_db()
    recent.refresh_from_db()
    assert (silent.status, recent.status) == (JobStatus.RUNNING, JobStatus.QUEUED)
    assert ProviderConfig.objects.get(pk="replicate").webhooks_missed_at is not None
    assert caplog.text.count("Webhooks are not arriving") == 1
    assert "Webhooks from replicate are not arriving" in lost_webhooks()


def test_a_silent_job_without_news_says_nothing_about_webhooks(
    webhooks_on: None, at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    at_replicate(**long_ago())
    assert maintenance.check_silent() == 1
    assert maintenance.check_silent() == 0
    assert ProviderConfig.objects.get(pk="replicate").webhooks_missed_at is None
    assert lost_webhooks() == ""


def test_news_of_a_job_that_was_made_elsewhere_say_nothing_about_webhooks(
    webhooks_on: None, at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    found = at_replicate(**long_ago())
    fake.update(found.external_id or "", "processing")
    assert maintenance.check_silent() == 1
    assert Job.objects.get().status == JobStatus.RUNNING
    assert lost_webhooks() == ""


@pytest.mark.parametrize("setting", [{"silence_minutes": 0}, {"webhook_url": ""}])
def test_it_can_be_switched_off_and_is_off_without_webhooks(
    webhooks_on: None, at_replicate: MakeJob, fake: FakeReplicate, setting: dict[str, object]
) -> None:
    ProviderConfig.objects.update(**setting)
    at_replicate(**long_ago())
    assert maintenance.check_silent() == 0
    assert not fake.requests


def test_a_cancel_is_asked_for_until_it_is_confirmed(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    job = at_replicate(status=JobStatus.RUNNING)
    lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    fake.faults.add("server_error", method="POST", times=1)
    assert maintenance.retry_cancels() == 0
    assert maintenance.retry_cancels() == 1
    assert maintenance.retry_cancels() == 0
    assert Job.objects.get().status == JobStatus.CANCELLED


def test_a_cancel_that_hangs_keeps_no_other_from_being_asked_for(
    at_replicate: MakeJob, fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "CANCEL_SECONDS", 0.5)
    jobs = [at_replicate(status=JobStatus.RUNNING) for _ in range(4)]
    for job in jobs:
        lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    for job in jobs[:3]:
        fake.faults.add("hang", method="POST", path=job.external_id or "")
    assert maintenance.retry_cancels() == 1
    assert Job.objects.get(status=JobStatus.CANCELLED) == jobs[3]


def test_a_provider_that_is_out_is_not_asked_to_cancel(at_replicate: MakeJob, fake: FakeReplicate) -> None:
    lifecycle.request_cancel(at_replicate(), actor=SYSTEM, source=Source.API)
    circuit_breaker.record_failure("replicate", ProviderError("it is down"))
    assert maintenance.retry_cancels() == 0
    assert not fake.requests


def test_a_log_that_can_not_be_had_is_no_outage_and_a_silent_provider_is(
    at_replicate: MakeJob, fake: FakeReplicate
) -> None:
    job = at_replicate(status=JobStatus.COMPLETED, completed_at=timezone.now(), log_due_at=timezone.now())
    fake.faults.add("server_error")
    assert refresh.capture_logs(source=Source.LOOP) == 1
    assert not ProviderConfig.objects.filter(outage_failures__gt=0).exists()
    Job.objects.filter(pk=job.pk).update(log_due_at=timezone.now())
    with fake.outage():
        refresh.capture_logs(source=Source.LOOP)
    assert ProviderConfig.objects.get().outage_failures == 1
    fake.faults.calm()
    ProviderConfig.objects.update(outage_until=None)
    Job.objects.filter(pk=job.pk).update(log_due_at=timezone.now())
    refresh.capture_logs(source=Source.LOOP)
    assert ProviderConfig.objects.get().outage_failures == 0


def test_a_round_without_anything_to_do_does_nothing(webhooks_on: None, fake: FakeReplicate) -> None:
    assert not any(maintenance.run().values())
    assert not fake.requests
