"""Notices of a job's end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.notices.channels import Owner, add_channel, job_webhook_channel
from cloudtrain_site.notices.models import Delivery, Notice
from cloudtrain_site.notices.sealing import open_texts
from cloudtrain_site.notices.sending import send_due
from cloudtrain_site.states import Actor, Source, change_state
from jobs import lifecycle
from jobs.models import Job, Membership
from jobs.snapshot_fields import end_fields
from jobs.statuses import JobStatus
from jobs.webhooks import signatures
from tests.cloudtrain_site.notices.receivers import WebhookReceiver

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def end(job: Job, to: JobStatus, actor: Actor | None = None, **fields: Any) -> None:
    now = timezone.now()
    ended = {**end_fields(job.started_at, now), **fields}
    assert change_state(job, to, actor=actor or Actor("local"), source=Source.POLL, **ended)


def test_a_completed_job_is_told_to_its_submitter(make_job: MakeJob, mailoutbox: list[Any]) -> None:
    job = make_job(status="running", started_at="2026-01-01T00:00:00Z")
    job.refresh_from_db()
    end(job, JobStatus.COMPLETED, cost_usd="4.20")
    assert send_due() == 1
    (mail,) = mailoutbox
    assert (mail.subject, mail.to) == ("flux-lora completed", ["alice@example.org"])
    assert "on local, for $4.20." in mail.body
    assert f"Open it: http://localhost:8001/jobs/{job.pk}" in mail.body


def test_a_failed_job_says_its_cause_first(make_job: MakeJob, mailoutbox: list[Any]) -> None:
    job = make_job(status="running")
    end(job, JobStatus.FAILED, error_message="Traceback:\n  File x\nRuntimeError: CUDA out of memory\n\n")
    send_due()
    (mail,) = mailoutbox
    assert mail.subject == "flux-lora failed: RuntimeError: CUDA out of memory"
    assert "RuntimeError: CUDA out of memory" in mail.body


def test_one_s_own_cancellation_is_no_news(make_job: MakeJob, alice: User, bob: User, mailoutbox: list[Any]) -> None:
    own, foreign = make_job(), make_job()
    assert lifecycle.request_cancel(own, actor=Actor.of(alice), source=Source.API)
    assert lifecycle.request_cancel(foreign, actor=Actor.of(bob), source=Source.API, reason="too long")
    send_due()
    (mail,) = mailoutbox
    assert mail.subject == "flux-lora was cancelled by bob"
    assert "The reason: too long" in mail.body


def test_one_s_own_cancellation_that_the_provider_confirms_is_no_news(
    make_job: MakeJob, alice: User, mailoutbox: list[Any]
) -> None:
    job = make_job(status="running", cancel_requested_by="alice")
    end(job, JobStatus.CANCELLED)
    assert send_due() == 0


def test_whoever_has_left_the_organization_reads_nothing_of_it(make_job: MakeJob, mailoutbox: list[Any]) -> None:
    job = make_job(status="running")
    end(job, JobStatus.COMPLETED)
    Membership.objects.all().delete()
    assert send_due() == 0
    assert mailoutbox == []


def test_an_organization_s_channel_hears_of_it_and_no_other_organization_s(
    make_job: MakeJob, charlie: User, webhook_receiver: WebhookReceiver, mailoutbox: list[Any]
) -> None:
    job = make_job(status="running")
    others = Membership.objects.get(user=charlie).organization
    for organization, path in ((job.organization, "ours"), (others, "theirs")):
        owner = Owner(organization=organization, by=charlie)
        add_channel(owner, "webhook", addresses=[f"{webhook_receiver.url}/{path}"])
    end(job, JobStatus.COMPLETED)
    send_due()
    (request,) = webhook_receiver.requests
    assert request.path == "/hook/ours"
    data = json.loads(request.body)["data"]
    assert (data["job_id"], data["status"], data["organization"]) == (job.pk, "completed", "acme")


def test_the_job_s_webhook_url_is_called_with_its_secret_parts(
    client_of: Callable[[User | None], APIClient], alice: User, webhook_receiver: WebhookReceiver
) -> None:
    address = f"{webhook_receiver.url}?token=recognisable0123456789"
    body = {"config": {"max_train_steps": 1}, "webhook_url": address}
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=local", body)
    assert answer.json()["warnings"] == []
    job = Job.objects.get()
    assert "recognisable" not in job.webhook_url
    assert lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.API)
    send_due()
    (request,) = webhook_receiver.requests
    (secret,) = open_texts(job_webhook_channel(alice.pk).sealed_secrets)
    assert request.path == "/hook?token=recognisable0123456789"
    assert signatures.check(request.headers, request.body, secret, time.time()) == signatures.Check.VALID
    assert json.loads(request.body)["type"] == "job_cancelled"
    assert "recognisable" not in f"{Notice.objects.values()}{Delivery.objects.values()}"


def test_an_end_is_told_once(make_job: MakeJob, mailoutbox: list[Any]) -> None:
    job = make_job(status="running")
    end(job, JobStatus.COMPLETED)
    assert not lifecycle.request_cancel(job, actor=Actor("bob"), source=Source.API)
    send_due()
    assert [notice.kind for notice in Notice.objects.all()] == ["job_completed"]
