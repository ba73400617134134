"""Notices about requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import OrmQ

from approvals import decisions, expiry
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.accounts.preferences import change_preferences
from cloudtrain_site.notices.models import Delivery, Notice
from cloudtrain_site.notices.outbox import TASK
from cloudtrain_site.notices.sending import send_due
from cloudtrain_site.states import Source
from jobs.models import Job, Organization
from jobs.roles import Role
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeRequest = Callable[..., SubmissionRequest]


def sent_about(mailoutbox: list[Any]) -> list[tuple[str, list[str]]]:
    """Send what is due, as if the last mail to everybody was a while ago, and return the mails."""
    Delivery.objects.filter(is_sent=True).update(done_at=timezone.now() - timedelta(hours=1))
    send_due()
    mails = [(mail.subject, mail.to) for mail in mailoutbox]
    mailoutbox.clear()
    return mails


def test_reviewers_get_what_they_need_and_a_link(bob: User, request_: ApprovalRequest, mailoutbox: list[Any]) -> None:
    assert send_due() == 1
    (mail,) = mailoutbox
    assert (mail.subject, mail.to) == ("Approval needed: flux by alice", ["bob@example.org"])
    for text in (
        "This is the first job of alice.",
        "local, cpu",
        f"/admin/approvals/approvalrequest/{request_.pk}/",
    ):
        assert text in mail.body
    assert mail.extra_headers["X-Correlation-ID"] == request_.job.correlation_id
    assert send_due() == 0


def test_reminders_come_at_half_time_and_in_the_last_hour(
    bob: User, request_: ApprovalRequest, mailoutbox: list[Any]
) -> None:
    due = {notice.data["occasion"]: notice.due_at for notice in Notice.objects.all()}
    assert due["half_time"] == request_.requested_at + timedelta(hours=12)
    assert due["last_call"] == request_.expires_at - timedelta(hours=1)
    subjects = []
    for notice in Notice.objects.order_by("due_at"):
        Notice.objects.filter(pk=notice.pk).update(due_at=timezone.now())
        subjects += [subject for subject, _ in sent_about(mailoutbox)]
    assert subjects == [
        "Approval needed: flux by alice",
        "Approval still needed: flux by alice",
        "Last hour for an approval: flux by alice",
    ]


def test_who_has_approved_is_not_reminded(
    submission_request: MakeRequest, bob: User, acme: Organization, first_job_rule: ApprovalRule, mailoutbox: list[Any]
) -> None:
    ApprovalRule.objects.update(approvals_needed=2)
    make_user("carol", acme, Role.LEAD)
    submit(submission_request())
    decisions.approve(ApprovalRequest.objects.select_related("job").get(), user=bob, source=Source.API)
    assert [to for _, to in sent_about(mailoutbox)] == [["carol@example.org"]]


def test_a_decided_request_reminds_nobody_and_tells_the_requester(
    bob: User, request_: ApprovalRequest, mailoutbox: list[Any]
) -> None:
    decisions.reject(request_, user=bob, source=Source.API, notes="too dear")
    Notice.objects.update(due_at=timezone.now())
    send_due()
    (mail,) = mailoutbox
    assert (mail.subject, mail.to) == ("flux: rejected by bob", ["alice@example.org"])
    assert "too dear" in mail.body
    assert not Notice.objects.filter(addressed_at=None).exists()


def test_an_expiry_is_told_to_the_requester(bob: User, request_: ApprovalRequest, mailoutbox: list[Any]) -> None:
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    expiry.expire_due(source=Source.LOOP)
    assert sent_about(mailoutbox) == [("flux: the approval request expired", ["alice@example.org"])]


def test_nothing_is_sent_before_the_commit(
    submission_request: MakeRequest,
    first_job_rule: ApprovalRule,
    mailoutbox: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        submit(submission_request())
        assert not OrmQ.objects.exists()
    assert mailoutbox == []
    assert any(task.func() == TASK for task in OrmQ.objects.all())


def test_a_name_with_a_line_break_makes_no_header(bob: User, request_: ApprovalRequest, mailoutbox: list[Any]) -> None:
    Job.objects.update(config_name="a\nBcc: everybody@example.org")
    assert sent_about(mailoutbox)[0][0] == "Approval needed: a Bcc: everybody@example.org by alice"


def test_who_wants_no_reminders_still_hears_of_new_requests(
    bob: User, request_: ApprovalRequest, mailoutbox: list[Any]
) -> None:
    change_preferences(bob, mail={"approval_reminder": False})
    Notice.objects.update(due_at=timezone.now())
    assert sent_about(mailoutbox) == [("Approval needed: flux by alice", ["bob@example.org"])]


def test_who_wants_no_word_about_decisions_gets_none(
    alice: User, bob: User, request_: ApprovalRequest, mailoutbox: list[Any]
) -> None:
    change_preferences(alice, mail={"approval_decided": False})
    sent_about(mailoutbox)
    decisions.approve(request_, user=bob, source=Source.API)
    assert sent_about(mailoutbox) == []


def test_an_expired_job_has_one_notice(bob: User, request_: ApprovalRequest, mailoutbox: list[Any]) -> None:
    """Not another one that it was cancelled."""
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    expiry.expire_due(source=Source.LOOP)
    assert sorted(Notice.objects.exclude(kind="approval_reminder").values_list("kind", flat=True)) == [
        "approval_expired",
        "approval_requested",
    ]


def test_who_decides_their_own_request_hears_nothing_of_it(
    bob: User, submission_request: MakeRequest, first_job_rule: ApprovalRule, mailoutbox: list[Any]
) -> None:
    ApprovalRule.objects.update(self_approval=True)
    submit(submission_request(user=bob))
    sent_about(mailoutbox)
    assert decisions.approve(ApprovalRequest.objects.select_related("job").get(), user=bob, source=Source.API)
    assert sent_about(mailoutbox) == []
