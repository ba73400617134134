"""The verbs of a request: each wins once, and loses without a trace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import call_command
from django.utils import timezone
from django_q.models import OrmQ

from approvals import decisions, expiry
from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.reviewers import decision_objection
from cloudtrain_site.notices.models import Delivery
from cloudtrain_site.notices.outbox import TASK
from cloudtrain_site.notices.sending import send_due
from cloudtrain_site.states import SYSTEM, Actor, Source
from jobs import lifecycle
from jobs.models import Job, JobEvent, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.events import published_events
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def state() -> tuple[str, str, str]:
    return ApprovalRequest.objects.get().status, QueueEntry.objects.get().status, Job.objects.get().status


def make_due() -> None:
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def approve(request: ApprovalRequest, bob: User) -> bool:
    return decisions.approve(request, user=bob, source=Source.ADMIN, notes="fine")


def reject(request: ApprovalRequest, bob: User) -> bool:
    return decisions.reject(request, user=bob, source=Source.ADMIN, notes="too dear")


def test_approve_lets_the_job_take_its_turn(request_: ApprovalRequest, bob: User) -> None:
    assert approve(request_, bob)
    assert state() == ("approved", EntryStatus.PENDING, JobStatus.PENDING)
    kept = ApprovalRequest.objects.get()
    assert (kept.reviewed_by, kept.review_notes) == ("bob", "fine")
    assert kept.reviewed_at is not None
    assert '"approval_approved"' in published_events().latest("eid").data


def test_an_approved_job_does_not_wait_for_the_next_tick(
    request_: ApprovalRequest, bob: User, django_capture_on_commit_callbacks: Any
) -> None:
    send_due()
    OrmQ.objects.all().delete()
    QueueState.objects.update(pass_requested_at=None)
    with django_capture_on_commit_callbacks(execute=True):
        assert approve(request_, bob)
    assert sorted(task.func() for task in OrmQ.objects.all()) == [
        TASK,
        "queueing.tasks.run_pass",
    ]


def test_a_stale_copy_decides_nothing_though_another_request_is_open(
    submission_request: Callable[..., SubmissionRequest], first_job_rule: ApprovalRule, bob: User
) -> None:
    request, _ = _requested(submission_request), _requested(submission_request)
    stale = ApprovalRequest.objects.select_related("job").get(pk=request.pk)
    assert decisions.cancel(request, actor=SYSTEM, source=Source.API)
    assert not approve(stale, bob)
    assert not reject(stale, bob)
    assert not stale.decisions.exists()


def test_each_decision_has_a_notice_and_a_withdrawal_has_one_for_others_alone(
    submission_request: Callable[..., SubmissionRequest],
    first_job_rule: ApprovalRule,
    alice: User,
    bob: User,
    django_capture_on_commit_callbacks: Any,
) -> None:
    approved, rejected, cancelled = (_requested(submission_request) for _ in range(3))
    send_due()
    OrmQ.objects.all().delete()
    with django_capture_on_commit_callbacks(execute=True):
        assert reject(rejected, bob)
    assert TASK in [task.func() for task in OrmQ.objects.all()]
    assert approve(approved, bob)
    assert decisions.cancel(cancelled, actor=Actor.of(alice), source=Source.API)
    send_due()
    notified = Delivery.objects.filter(user=alice).values_list("notice__data__approval_id", flat=True)
    assert sorted(notified) == [approved.pk, rejected.pk]


def _requested(submission_request: Callable[..., SubmissionRequest]) -> ApprovalRequest:
    submit(submission_request())
    return ApprovalRequest.objects.select_related("job").latest("id")


@pytest.mark.parametrize(("notes", "reason"), [("fine", "fine"), ("", "approved")])
def test_the_queue_says_why_the_job_goes_on(request_: ApprovalRequest, bob: User, notes: str, reason: str) -> None:
    assert decisions.approve(request_, user=bob, source=Source.ADMIN, notes=notes)
    assert JobEvent.objects.get(subject="queue_entry", new="pending").reason == reason


def test_what_is_not_due_does_not_expire(request_: ApprovalRequest) -> None:
    assert not decisions.expire(request_, source=Source.LOOP)
    assert not decisions.expire_when_due(request_, Source.LOOP)
    assert state()[0] == "pending"


def test_an_approval_is_not_withdrawn_when_the_job_ends(request_: ApprovalRequest, bob: User) -> None:
    assert approve(request_, bob)
    assert not decisions.withdraw(request_, actor=SYSTEM, source=Source.LOOP)
    assert not decisions.cancel(request_, actor=SYSTEM, source=Source.LOOP)
    assert state() == ("approved", EntryStatus.PENDING, JobStatus.PENDING)


def test_what_is_still_pending_says_to_whom_it_waits(
    submission_request: Callable[..., SubmissionRequest],
    first_job_rule: ApprovalRule,
    alice: User,
    bob: User,
    acme: Organization,
) -> None:
    first_job_rule.approvals_needed = 2
    first_job_rule.save()
    request, _ = _requested(submission_request), _requested(submission_request)
    assert approve(request, bob)
    carol = make_user("carol", acme, Role.LEAD)
    still = "The request is still pending."
    assert [decisions.outcome_message(request, user) for user in (None, AnonymousUser(), carol)] == [still] * 3
    assert decisions.outcome_message(request, bob).startswith("You already approved at ")
    assert (
        decisions.outcome_message(request, alice)
        == "Only leads and admins of the organization can decide about its jobs."
    )


def test_a_rejection_that_comes_too_late_is_none(request_: ApprovalRequest, bob: User) -> None:
    stale = ApprovalRequest.objects.select_related("job").get()
    make_due()
    assert not reject(stale, bob)
    assert state()[0] == "pending", "the copy in hand did not say so, but the row did"
    request_.refresh_from_db()
    assert not reject(request_, bob)
    assert state() == ("expired", EntryStatus.FAILED, JobStatus.CANCELLED)
    assert not request_.decisions.exists()


def test_reject_cancels_the_job_and_keeps_the_reason(request_: ApprovalRequest, bob: User) -> None:
    assert reject(request_, bob)
    assert state() == ("rejected", EntryStatus.FAILED, JobStatus.CANCELLED)
    assert "too dear" in JobEvent.objects.get(subject="approval", new="rejected").reason


def test_the_second_decision_loses_and_is_told_what_happened(request_: ApprovalRequest, bob: User) -> None:
    stale = ApprovalRequest.objects.select_related("job").get()
    approve(request_, bob)
    lines, events = JobEvent.objects.count(), published_events().count()
    assert not reject(stale, bob)
    assert decisions.outcome_message(stale).startswith("The request was already approved by bob at ")
    assert (JobEvent.objects.count(), published_events().count()) == (lines, events)
    assert state() == ("approved", EntryStatus.PENDING, JobStatus.PENDING)


def test_a_due_request_is_expired_by_who_tries_to_approve_it(request_: ApprovalRequest, bob: User) -> None:
    make_due()
    request_.refresh_from_db()
    assert not approve(request_, bob)
    assert state() == ("expired", EntryStatus.FAILED, JobStatus.CANCELLED)
    assert decisions.outcome_message(request_).startswith("The request expired at ")


def test_a_request_that_ran_out_after_it_was_read_is_not_approved(request_: ApprovalRequest, bob: User) -> None:
    make_due()
    assert not approve(request_, bob)
    assert state()[0] == "pending", "the copy in hand did not say so, but the row did"


def test_the_sweep_expires_what_is_due(request_: ApprovalRequest) -> None:
    make_due()
    assert expiry.expire_due(source=Source.LOOP) == 1
    assert expiry.expire_due(source=Source.LOOP) == 0
    assert state() == ("expired", EntryStatus.FAILED, JobStatus.CANCELLED)
    assert '"approval_expired"' in "".join(published_events().values_list("data", flat=True))


def test_the_sweep_leaves_what_is_in_time(request_: ApprovalRequest) -> None:
    assert expiry.expire_due(source=Source.LOOP) == 0
    assert state() == ("pending", EntryStatus.BLOCKED, JobStatus.PENDING)


def test_what_was_approved_in_between_is_not_expired(request_: ApprovalRequest, bob: User) -> None:
    stale = ApprovalRequest.objects.select_related("job").get()
    approve(request_, bob)
    make_due()
    assert not decisions.expire(stale, source=Source.LOOP)
    assert state()[0] == "approved"


def test_the_requester_takes_the_request_back_with_the_job(request_: ApprovalRequest, alice: User) -> None:
    assert decisions.cancel(request_, actor=Actor.of(alice), source=Source.API)
    assert state() == ("cancelled", EntryStatus.FAILED, JobStatus.CANCELLED)
    assert not decisions.cancel(request_, actor=Actor.of(alice), source=Source.API)


def test_cancelling_the_job_withdraws_its_request(
    request_: ApprovalRequest, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.request_cancel(Job.objects.get(), actor=SYSTEM, source=Source.API)
    assert state() == ("cancelled", EntryStatus.CANCELLED, JobStatus.CANCELLED)


def test_the_sweep_withdraws_what_a_lost_signal_left_open(request_: ApprovalRequest) -> None:
    lifecycle.request_cancel(Job.objects.get(), actor=SYSTEM, source=Source.API)
    expiry.expire_due(source=Source.LOOP)
    assert state()[0] == "cancelled"


def test_nobody_decides_about_their_own_job(held: Outcome, request_: ApprovalRequest, bob: User) -> None:
    assert decision_objection(bob, request_) is None
    request_.requested_by = bob
    assert "own job" in str(decision_objection(bob, request_))


def test_who_is_no_lead_there_does_not_decide(request_: ApprovalRequest, alice: User, charlie: User) -> None:
    assert "leads and admins" in str(decision_objection(alice, request_))
    assert "leads and admins" in str(decision_objection(charlie, request_))


def test_the_command_sweeps_once_and_says_how_many(
    request_: ApprovalRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    make_due()
    call_command("expire_approvals", dry_run=True)
    assert state()[0] == "pending"
    call_command("expire_approvals")
    call_command("expire_approvals", json=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if '"timestamp"' not in line]
    assert lines == ["1 approval requests are due", "Expired 1 approval requests", '{"expired": 0}']


def test_the_sweep_logs_each_request_and_the_sum(request_: ApprovalRequest, caplog: pytest.LogCaptureFixture) -> None:
    make_due()
    with caplog.at_level("INFO", logger="simpletuner.cloud.approvals"):
        expiry.expire_due(source=Source.LOOP)
    assert [record.getMessage() for record in caplog.records] == [
        "Approval request expired",
        "Expired 1 approval requests",
    ]
    assert caplog.records[1].__dict__["expired"] == 1
