"""One act for several jobs: what it asks, what it does, and what it leaves alone and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from approvals import intake
from approvals.intake import SubmissionRequest
from approvals.models import ApprovalRule
from approvals.statuses import RequestStatus
from cloudtrain_site.states import Source
from jobs.configs.submission import Submission
from jobs.models import Job, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from jobs.tags.tagging import tags_by_job
from tests.factories import make_user
from tests.web import with_single_blanks

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def ask(user: User, act: str, jobs: Sequence[Job]) -> str:
    client = Client()
    client.force_login(user)
    answer = client.get(f"/jobs/chosen/{act}", {"id": [job.pk for job in jobs]})
    return with_single_blanks(answer.content.decode())


def act_on(user: User, act: str, jobs: Sequence[Job], **fields: Any) -> str:
    client = Client()
    client.force_login(user)
    answer = client.post(f"/jobs/chosen/{act}", {"id": [job.pk for job in jobs], **fields})
    return with_single_blanks(answer.content.decode())


@pytest.fixture
def carol(acme: Organization) -> User:
    return make_user("carol", acme, Role.RESEARCHER)


class TestQuestion:
    def test_names_number_sum_and_what_is_not_possible(self, alice: User, carol: User, make_job: MakeJob) -> None:
        jobs = [
            make_job(cost_usd=Decimal("1.50"), status=JobStatus.RUNNING),
            make_job(cost_usd=Decimal(2)),
            make_job(config_name="ended", status=JobStatus.COMPLETED, cost_usd=Decimal(100)),
            make_job(config_name="carols", submitted_by=carol),
        ]
        page = ask(alice, "cancel", jobs)
        assert "Cancel 2 jobs?" in page and "Keep them" in page
        assert "Cost so far: $3.50 in total." in page
        assert "<bdi>ended</bdi>: The job has ended." in page
        assert "<bdi>carols</bdi>: Only the submitter, a lead or an admin can change this job." in page
        assert Job.objects.filter(cancel_requested_at=None).count() == 4

    def test_tells_a_stranger_nothing_of_them(self, charlie: User, make_job: MakeJob) -> None:
        page = ask(charlie, "cancel", [make_job(config_name="a-secret")])
        assert "a-secret" not in page
        assert "1 that is no longer there." in page

    def test_is_for_who_is_signed_in(self, client: Client, db: None) -> None:
        assert client.get("/jobs/chosen/cancel").status_code == 401
        assert client.post("/jobs/chosen/cancel").status_code == 401

    def test_of_an_unknown_act_is_not_there(self, alice: User) -> None:
        assert "Page not found" in ask(alice, "sell", [])


def test_some_are_cancelled_and_the_others_are_named(alice: User, carol: User, make_job: MakeJob) -> None:
    own, foreign = make_job(), make_job(config_name="carols", submitted_by=carol)
    page = act_on(alice, "cancel", [own, foreign])
    assert "1 job cancelled" in page
    assert "1 was not changed:" in page
    assert "<bdi>carols</bdi>: Only the submitter" in page
    own.refresh_from_db()
    foreign.refresh_from_db()
    assert (own.status, foreign.status) == (JobStatus.CANCELLED, JobStatus.PENDING)
    assert "0 jobs cancelled" in act_on(alice, "cancel", [own])


def test_ended_ones_are_deleted_and_running_ones_stay(bob: User, make_job: MakeJob) -> None:
    ended, running = make_job(status=JobStatus.FAILED), make_job(status=JobStatus.RUNNING)
    page = act_on(bob, "delete", [ended, running])
    assert "1 job deleted" in page
    assert "The job has not ended. Cancel it first." in page
    assert list(Job.objects.kept()) == [running]
    assert "1 that is no longer there." in act_on(bob, "delete", [ended])


def test_a_tag_is_put_on_and_taken_off(acme: Organization, alice: User, make_job: MakeJob) -> None:
    for name in ("paper", "baseline"):
        acme.tags.create(name=name, name_key=name)
    jobs = [make_job(), make_job()]
    assert "<option>paper</option>" in ask(alice, "tag", jobs)
    act_on(alice, "tag", jobs[:1], tag="baseline")
    assert "2 jobs tagged" in act_on(alice, "tag", jobs, tag="paper")
    assert tags_by_job(jobs) == {jobs[0].pk: ["baseline", "paper"], jobs[1].pk: ["paper"]}
    act_on(alice, "tag", jobs, tag="paper", remove="1")
    assert tags_by_job(jobs) == {jobs[0].pk: ["baseline"]}
    assert "has no tag “mine”" in act_on(alice, "tag", jobs, tag="mine")


def test_a_form_that_is_sent_twice_retries_once(alice: User, make_job: MakeJob) -> None:
    job, running = make_job(status=JobStatus.FAILED, config={"max_train_steps": 9}), make_job(status=JobStatus.RUNNING)
    for _ in range(2):
        page = act_on(alice, "retry", [job, running], key="once")
        assert "1 job submitted again" in page
        assert "Only failed and cancelled jobs can be retried." in page
    assert Job.objects.filter(retry_of=job).count() == 1


class TestApproving:
    @pytest.fixture
    def held(self, acme: Organization, alice: User) -> list[Job]:
        ApprovalRule.objects.create(name="all", provider="local")
        submission = Submission("local", {"max_train_steps": 9}, "held", "cpu")
        requests = [SubmissionRequest(alice, acme, submission, Source.API) for _ in range(2)]
        return [intake.submit(request).job for request in requests]

    def test_is_for_leads(self, held: list[Job], alice: User, bob: User, make_job: MakeJob) -> None:
        page = act_on(alice, "approve", held)
        assert "0 jobs approved" in page
        assert {job.approval_requests.get().status for job in held} == {RequestStatus.PENDING}
        page = act_on(bob, "approve", [*held, make_job(config_name="free")])
        assert "2 jobs approved" in page
        assert "<bdi>free</bdi>: The job needs no approval." in page
        assert {job.approval_requests.get().status for job in held} == {RequestStatus.APPROVED}
        assert "0 jobs approved" in act_on(bob, "approve", held)
