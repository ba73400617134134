"""The history on the page of a job."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.dashboard.history import MAX_MOMENTS, steps_of
from jobs.models import Job, JobEvent
from jobs.statuses import JobStatus
from tests.jobs.dashboard.test_job_views import get, page_of, submit

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def labels_of(job: Job, reader: User) -> list[str]:
    steps = get(reader, page_of(job) + "/parts/history").partition("</ol>")[0]
    return re.findall(r"<strong>(.*?)</strong>", steps)


class TestHistory:
    def test_says_who_what_from_where_and_why(self, alice: User) -> None:
        job = submit(alice)
        lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.ADMIN, reason="wrong <data>")
        page = get(alice, page_of(job) + "/parts/history")
        happened = page.partition("What happened")[2]
        assert happened.index("<strong>Cancelled</strong>") < happened.index("<strong>Submitted</strong>")
        assert "via the admin" in page.partition("Technical details")[2]
        assert "wrong &lt;data&gt;" in page
        assert job.correlation_id in page

    def test_of_hundreds_has_the_newest(self, alice: User, make_job: MakeJob) -> None:
        job = make_job()
        line = {"job": job, "subject": "job", "old": "queued", "new": "running", "actor": "x", "source": "poll"}
        JobEvent.objects.bulk_create(
            JobEvent(**line, reason=f"number {number}.", at=timezone.now()) for number in range(MAX_MOMENTS + 1)
        )
        page = get(alice, page_of(job) + "/parts/history")
        assert f"number {MAX_MOMENTS}." in page
        assert "number 0." not in page
        assert "whole history" in page

    def test_has_five_steps_with_who_and_when(self, alice: User, bob: User) -> None:
        ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))
        job = submit(alice)
        assert labels_of(job, alice) == ["Submitted", "Needs approval", "Queued", "Started", "Ended"]
        decisions.approve(ApprovalRequest.objects.get(), user=bob, source=Source.DASHBOARD, notes="fine")
        steps = steps_of(Job.objects.get(), list(JobEvent.objects.order_by("-id")))
        assert [(step.label, step.state) for step in steps] == [
            ("Submitted", "done"), ("Approved", "done"), ("Queued", "now"), ("Started", "later"), ("Ended", "later"),
        ]  # fmt: skip
        assert (steps[0].text, steps[1].text) == ("By alice", "By bob: fine")
        assert None not in [step.at for step in steps[:3]]
        lifecycle.request_cancel(job, actor=Actor.of(bob), source=Source.DASHBOARD)
        assert labels_of(job, alice) == ["Submitted", "Approved", "Queued", "Started", "Cancelled"]

    def test_names_the_dashboard_as_the_source_of_what_its_scripts_did(self, alice: User, make_job: MakeJob) -> None:
        client = Client()
        client.force_login(alice)

        def source_of_cancel(headers: dict[str, str]) -> str:
            job = make_job(status=JobStatus.RUNNING)
            address = f"/api/cloud/jobs/{job.pk}/cancel"
            assert client.post(address, "{}", "application/json", headers=headers).status_code == 200
            return job.events.latest("id").source

        assert source_of_cancel({"X-Reader": str(alice.pk)}) == "dashboard"
        assert source_of_cancel({}) == "api"

    def test_of_a_job_that_no_rule_held_says_so(self, alice: User) -> None:
        assert "No approval was needed" in get(alice, page_of(submit(alice)) + "/history")
