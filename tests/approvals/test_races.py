"""Decisions and submissions at the same instant: one winner, one line of history, one event."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied

from approvals import decisions, expiry
from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule, Requirement
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source
from jobs.models import Job, JobEvent, Membership, Organization
from jobs.organizations.endings import close
from jobs.organizations.people import deactivate_user
from jobs.permissions import lock_submitter
from jobs.roles import Role
from queueing.models import QueueEntry
from tests.events import published_events
from tests.factories import make_user
from tests.races import at_once
from tests.web import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
#: `CLOUDTRAIN_RACE_ROUNDS=200` for the long run.
ROUNDS = int(os.environ.get("CLOUDTRAIN_RACE_ROUNDS", "40"))


@pytest.mark.slow
def test_of_approve_reject_expire_and_cancel_at_once_one_wins(
    submission_request: Callable[..., SubmissionRequest], alice: User, bob: User, first_job_rule: ApprovalRule
) -> None:
    won = [race(submit(submission_request()).job, alice, bob) for _ in range(ROUNDS)]
    assert won == [1] * ROUNDS


def race(job: Job, alice: User, bob: User) -> int:
    """Four verbs at the instant of the deadline. Returns how many say they won, after looking at what they left."""
    near = timezone.now() + timedelta(milliseconds=2)
    ApprovalRequest.objects.filter(job=job).update(expires_at=near)
    first, second, third, fourth = (ApprovalRequest.objects.select_related("job").get(job=job) for _ in range(4))
    wait_until(lambda: timezone.now() >= near - timedelta(microseconds=200))
    won = at_once(
        lambda: decisions.approve(first, user=bob, source=Source.API),
        lambda: decisions.reject(second, user=bob, source=Source.API, notes="no"),
        lambda: decisions.cancel(third, actor=Actor.of(alice), source=Source.API),
        lambda: decisions.expire(fourth, source=Source.LOOP),
    )
    if not any(won):
        # Two came too late and two too early: whoever comes next expires it.
        won.append(decisions.expire(first, source=Source.LOOP) or True)
    assert_published_once(job)
    return won.count(True)


def assert_published_once(job: Job) -> None:
    """One line of history and one event, and job and entry as the decision has them."""
    decided = ApprovalRequest.objects.get(job=job).status
    lines = JobEvent.objects.filter(job=job, subject="approval").exclude(old="")
    assert lines.values_list("new").get() == (decided,)
    events = [
        data
        for data in published_events().order_by("eid").values_list("data", flat=True)
        if job.pk in data and '"approval_' in data
    ]
    expected = ["approval_requested"] + ([f"approval_{decided}"] if decided != "cancelled" else [])
    assert [json.loads(data)["type"] for data in events] == expected
    ended = {"approved": ("pending", "pending")}.get(decided, ("cancelled", "failed"))
    assert (Job.objects.get(pk=job.pk).status, QueueEntry.objects.get(job=job).status) == ended


@pytest.mark.parametrize("round_", range(5))
def test_two_last_approvals_at_once_count_each_other(
    submission_request: Callable[..., SubmissionRequest],
    acme: Organization,
    bob: User,
    first_job_rule: ApprovalRule,
    round_: int,
) -> None:
    ApprovalRule.objects.update(approvals_needed=2)
    carol = make_user("carol", acme, Role.LEAD)
    submit(submission_request())
    copies = [ApprovalRequest.objects.select_related("job").get() for _ in range(3)]
    won = at_once(
        lambda: decisions.approve(copies[0], user=bob, source=Source.API),
        lambda: decisions.approve(copies[1], user=carol, source=Source.API),
        lambda: decisions.approve(copies[2], user=bob, source=Source.API),
    )
    assert won.count(True) == 2
    assert (ApprovalRequest.objects.get().status, QueueEntry.objects.get().status) == ("approved", "pending")
    assert JobEvent.objects.filter(subject="approval", new="approved").count() == 1


@pytest.mark.parametrize("round_", range(5))
def test_approvals_at_once_for_a_rule_each_approve_the_job_once(
    submission_request: Callable[..., SubmissionRequest], acme: Organization, bob: User, round_: int
) -> None:
    group = Group.objects.create(name="safety")
    vera = make_user("vera", acme, Role.VIEWER)
    vera.groups.add(group)
    ApprovalRule.objects.create(name="cpus", hardware="cpu")
    ApprovalRule.objects.create(name="local", provider="local", reviewer_group=group)
    submit(submission_request())
    copies = [ApprovalRequest.objects.select_related("job").get() for _ in range(3)]
    won = at_once(
        lambda: decisions.approve(copies[0], user=bob, source=Source.API),
        lambda: decisions.approve(copies[1], user=vera, source=Source.API),
        lambda: decisions.approve(copies[2], user=vera, source=Source.API),
    )
    assert won.count(True) == 2
    assert (ApprovalRequest.objects.get().status, QueueEntry.objects.get().status) == ("approved", "pending")
    assert list(Requirement.objects.values_list("approvals_given", flat=True)) == [1, 1]
    assert JobEvent.objects.filter(subject="approval", new="approved").count() == 1
    assert JobEvent.objects.filter(subject="queue_entry", new="pending").count() == 1


def test_two_sweeps_at_once_expire_each_request_once(
    submission_request: Callable[..., SubmissionRequest], alice: User, first_job_rule: ApprovalRule
) -> None:
    for _ in range(5):
        submit(submission_request())
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    swept = at_once(*[lambda: expiry.expire_due(source=Source.LOOP)] * 3)
    assert sum(swept) == 5
    assert JobEvent.objects.filter(subject="approval", new="expired").count() == 5


def test_two_people_submitting_with_one_key_at_once_get_a_job_each(
    submission_request: Callable[..., SubmissionRequest], alice: User, bob: User
) -> None:
    outcomes = at_once(
        lambda: submit(submission_request(user=alice, key="k")), lambda: submit(submission_request(user=bob, key="k"))
    )
    assert outcomes[0].job != outcomes[1].job


def test_one_person_submitting_five_times_at_once_with_one_key_gets_one_job(
    submission_request: Callable[..., SubmissionRequest], alice: User
) -> None:
    outcomes = at_once(*[lambda: submit(submission_request(key="k"))] * 5)
    assert len({outcome.job.pk for outcome in outcomes}) == 1
    assert [outcome.is_replay for outcome in outcomes].count(False) == 1
    assert Job.objects.count() == QueueEntry.objects.count() == 1


class TestDeactivation:
    """A submission and the end of its submitter's rights: one of the two comes first, and is heeded by the other."""

    @pytest.mark.slow
    @pytest.mark.parametrize("who", ["alice", "root"])
    def test_no_job_waits_in_a_closed_organization(
        self,
        request: pytest.FixtureRequest,
        submission_request: Callable[..., SubmissionRequest],
        root: User,
        acme: Organization,
        who: str,
    ) -> None:
        for _ in range(ROUNDS // 2):
            Organization.objects.update(closed_at=None)
            acme.refresh_from_db()
            submitter = request.getfixturevalue(who)
            store = partial(submit, replace(submission_request(), user=submitter))
            stored, closed = at_once(partial(succeeds, store), partial(succeeds, partial(close, acme, by=root)))
            assert closed
            assert [job.status for job in Job.objects.all()] == ["cancelled"] * stored
            Job.objects.all().delete()

    @pytest.mark.postgresql
    @pytest.mark.parametrize("is_deactivated", [False, True])
    def test_the_end_waits_for_a_submission_that_is_being_stored(
        self, alice: User, root: User, acme: Organization, make_job: Callable[..., Job], is_deactivated: bool
    ) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite's transactions come one after the other anyway")
        is_locked, is_blocked = threading.Event(), threading.Event()

        def store() -> bool:
            with transaction.atomic():
                lock_submitter(alice, acme)
                is_locked.set()
                is_blocked.wait(20)
                make_job()
            return True

        def end() -> bool:
            is_locked.wait(20)
            watcher = threading.Thread(target=tell_when_blocked, args=(is_blocked,))
            watcher.start()
            try:
                return succeeds(lambda: deactivate_user(alice, by=root) if is_deactivated else close(acme, by=root))
            finally:
                watcher.join()

        assert at_once(store, end) == [True, True]
        # A user's waiting jobs go on; those of a closed organization are cancelled.
        assert (Job.objects.get().status, Membership.objects.count()) == (
            "pending" if is_deactivated else "cancelled",
            1,
        )


def succeeds(verb: Callable[[], object]) -> bool:
    try:
        verb()
    except (Conflict, PermissionDenied):
        return False
    return True


def tell_when_blocked(is_blocked: threading.Event) -> None:
    """Set the event once a transaction waits for another one's lock."""
    waiting = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
    with connection.cursor() as cursor:

        def look() -> bool:
            cursor.execute(waiting)
            return bool(cursor.fetchone()[0])

        try:
            wait_until(look)
        finally:
            is_blocked.set()
            connection.close()
