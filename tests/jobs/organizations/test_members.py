"""Members: added, given another role, removed; the last admin stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import Http404
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.errors import Conflict
from cloudtrain_site.events.publish import USER_CHANNEL
from cloudtrain_site.models import ApiKey
from jobs.models import Job, Membership, Organization
from jobs.organizations.members import (
    JobsOfMember,
    add_member,
    change_role,
    find_member,
    leave,
    members_of,
    remove_member,
)
from jobs.organizations.service_accounts import make_service_account
from jobs.roles import Role
from jobs.signals import membership_ended
from tests.factories import make_user

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


@pytest.fixture
def adam(acme: Organization) -> User:
    """The only admin of acme."""
    return make_user("adam", acme, Role.ADMIN)


def roles(organization: Organization) -> dict[str, str]:
    return dict(organization.memberships.values_list("user__username", "role"))


def test_a_superuser_adds_a_member_once(acme: Organization, root: User, charlie: User) -> None:
    before = timezone.now()
    membership = add_member(acme, charlie, Role.LEAD, by=root)
    assert (membership.role, roles(acme)) == (Role.LEAD, {"charlie": "lead"})
    assert membership.joined_at is not None and membership.joined_at >= before
    with pytest.raises(Conflict, match="charlie is a member of acme already"):
        add_member(acme, charlie, Role.VIEWER, by=root)
    assert roles(acme) == {"charlie": "lead"}


def test_one_who_joins_finds_others_there(acme: Organization, alice: User, root: User, charlie: User) -> None:
    make_service_account(acme, "nightly", Role.RESEARCHER, by=root)
    add_member(acme, charlie, Role.LEAD, by=root)
    assert roles(acme) == {"acme:nightly": "researcher", "alice": "researcher", "charlie": "lead"}


def test_a_service_account_joins_no_second_organization(acme: Organization, root: User, charlie: User) -> None:
    account = make_service_account(acme, "nightly", Role.RESEARCHER, by=root)
    with pytest.raises(Conflict, match="acme:nightly is a service account"):
        add_member(Organization.objects.get(name="other"), account.user, Role.ADMIN, by=root)
    assert account.user.memberships.get().organization == acme


def test_an_admin_adds_nobody_who_did_not_agree(acme: Organization, adam: User, charlie: User) -> None:
    with pytest.raises(PermissionDenied, match="superusers"):
        add_member(acme, charlie, Role.VIEWER, by=adam)
    assert roles(acme) == {"adam": "admin"}


def test_nobody_joins_a_closed_organization(acme: Organization, charlie: User) -> None:
    Organization.objects.filter(pk=acme.pk).update(closed_at=timezone.now())
    with pytest.raises(Conflict, match="closed"):
        add_member(acme, charlie, Role.VIEWER, by=OPERATOR)
    assert roles(acme) == {}


def test_an_admin_changes_a_role(acme: Organization, adam: User, alice: User) -> None:
    assert change_role(acme, alice, Role.ADMIN, by=adam)
    assert not change_role(acme, alice, Role.ADMIN, by=adam)
    assert roles(acme) == {"adam": "admin", "alice": "admin"}
    change = AuditRecord.objects.get()
    assert (change.action, change.actor, change.subject, change.organization) == (
        "role_changed",
        "adam",
        "alice",
        "acme",
    )
    assert (change.before, change.after) == ({"role": "researcher"}, {"role": "admin"})


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD])
def test_nobody_below_an_admin_changes_members(acme: Organization, adam: User, alice: User, role: Role) -> None:
    other = make_user("olga", acme, role)
    for attempt in (
        lambda: change_role(acme, other, Role.ADMIN, by=other),
        lambda: change_role(acme, adam, Role.VIEWER, by=other),
        lambda: remove_member(acme, alice, by=other),
    ):
        with pytest.raises(PermissionDenied, match="Only the admins of acme"):
            attempt()
    assert roles(acme) == {"adam": "admin", "alice": "researcher", "olga": role}
    assert not AuditRecord.objects.exists()


def test_an_admin_of_another_organization_changes_nobody(acme: Organization, adam: User, charlie: User) -> None:
    with pytest.raises(PermissionDenied):
        change_role(acme, adam, Role.VIEWER, by=charlie)
    with pytest.raises(PermissionDenied):
        remove_member(acme, adam, by=charlie)
    assert roles(acme) == {"adam": "admin"}


def test_nor_does_an_admin_who_was_deactivated_meanwhile(acme: Organization, adam: User, alice: User) -> None:
    User.objects.filter(pk=adam.pk).update(is_active=False)
    with pytest.raises(PermissionDenied):
        change_role(acme, alice, Role.ADMIN, by=adam)


def test_a_superuser_and_an_operator_change_them(acme: Organization, adam: User, alice: User, root: User) -> None:
    assert change_role(acme, alice, Role.LEAD, by=root)
    assert change_role(acme, alice, Role.VIEWER, by=OPERATOR)
    assert remove_member(acme, alice, by=root) == 0
    assert roles(acme) == {"adam": "admin"}


def test_somebody_who_is_no_member_is_not_found(acme: Organization, adam: User, charlie: User) -> None:
    for attempt in (
        lambda: change_role(acme, charlie, Role.LEAD, by=adam),
        lambda: remove_member(acme, charlie, by=adam),
        lambda: leave(acme, charlie),
        lambda: find_member(acme, "charlie"),
        lambda: find_member(acme, "nobody"),
        lambda: find_member(acme, "a\x00"),
    ):
        with pytest.raises(Http404):
            attempt()
    assert find_member(acme, "adam").role == Role.ADMIN


class TestTheLastAdmin:
    @pytest.mark.parametrize(
        "go",
        [
            lambda acme, adam: change_role(acme, adam, Role.LEAD, by=adam),
            lambda acme, adam: change_role(acme, adam, Role.LEAD, by=OPERATOR),
            lambda acme, adam: remove_member(acme, adam, by=adam),
            lambda acme, adam: remove_member(acme, adam, by=OPERATOR),
            lambda acme, adam: leave(acme, adam),
        ],
    )
    def test_stays(self, acme: Organization, adam: User, alice: User, go: Callable[..., Any]) -> None:
        with pytest.raises(Conflict, match="adam is the last admin of acme") as refused:
            go(acme, adam)
        assert refused.value.get_codes() == "last_admin"
        assert roles(acme) == {"adam": "admin", "alice": "researcher"}
        assert not AuditRecord.objects.exists()

    def test_goes_once_there_is_another(self, acme: Organization, adam: User, alice: User) -> None:
        change_role(acme, alice, Role.ADMIN, by=adam)
        leave(acme, adam)
        assert roles(acme) == {"alice": "admin"}
        with pytest.raises(Conflict):
            leave(acme, alice)

    def test_is_whoever_can_sign_in(self, acme: Organization, adam: User, alice: User) -> None:
        change_role(acme, alice, Role.ADMIN, by=adam)
        User.objects.filter(pk=alice.pk).update(is_active=False)
        with pytest.raises(Conflict):
            leave(acme, adam)
        assert remove_member(acme, alice, by=adam) == 0

    def test_is_not_one_of_another_organization(self, acme: Organization, adam: User, charlie: User) -> None:
        with pytest.raises(Conflict):
            leave(acme, adam)

    def test_may_be_made_an_admin_again(self, acme: Organization, adam: User) -> None:
        assert not change_role(acme, adam, Role.ADMIN, by=adam)


class TestJobsOfAMember:
    def test_they_stay_unless_it_is_chosen(
        self, acme: Organization, adam: User, alice: User, make_job: MakeJob
    ) -> None:
        job = make_job(status="pending")
        assert remove_member(acme, alice, by=adam) == 0
        job.refresh_from_db()
        assert (job.status, job.submitted_by) == ("pending", alice)

    def test_or_are_cancelled(self, acme: Organization, adam: User, alice: User, bob: User, make_job: MakeJob) -> None:
        waiting, ended = make_job(status="pending"), make_job(status="completed")
        running = make_job(status="running", submission_started_at=timezone.now())
        others, elsewhere = make_job(submitted_by=bob), make_job(organization=Organization.objects.create(name="other"))
        assert remove_member(acme, alice, by=adam, jobs=JobsOfMember.CANCEL) == 2
        statuses = {job.pk: job.status for job in Job.objects.all()}
        assert [statuses[job.pk] for job in (waiting, ended, running, others, elsewhere)] == [
            *("cancelled", "completed", "running"),
            *("pending", "pending"),
        ]
        running.refresh_from_db()
        assert (running.cancel_requested_by, running.cancel_requested_at is not None) == ("adam", True)
        after = AuditRecord.objects.get(action="member_removed").after
        assert after == {"jobs": "cancel", "cancelled": 2}

    def test_who_leaves_chooses_too(self, acme: Organization, alice: User, make_job: MakeJob) -> None:
        make_job(status="pending")
        assert leave(acme, alice, jobs=JobsOfMember.CANCEL) == 1
        assert Job.objects.get().status == "cancelled"
        change = AuditRecord.objects.get()
        assert (change.action, change.actor, change.before) == ("member_left", "alice", {"role": "researcher"})


def test_the_rooms_hear_of_it_in_the_same_transaction(acme: Organization, adam: User, alice: User) -> None:
    def object_to_it(*, user: User, organization: Organization, **kwargs: Any) -> None:
        assert (user, organization) == (alice, acme)
        raise RuntimeError

    membership_ended.connect(object_to_it)
    try:
        with pytest.raises(RuntimeError):
            remove_member(acme, alice, by=adam)
    finally:
        membership_ended.disconnect(object_to_it)
    assert roles(acme) == {"adam": "admin", "alice": "researcher"}


def test_open_event_streams_get_the_new_rights(acme: Organization, adam: User, alice: User) -> None:
    Event.objects.all().delete()
    remove_member(acme, alice, by=adam)
    assert Event.objects.filter(channel=f"{USER_CHANNEL}{alice.pk}", data__contains="rights_changed").count() == 1


def test_members_are_listed_with_when_they_were_last_seen(
    acme: Organization, adam: User, alice: User, bob: User
) -> None:
    now = timezone.now()
    User.objects.filter(pk=alice.pk).update(last_login=now - timedelta(days=1))
    User.objects.filter(pk=bob.pk).update(last_login=now - timedelta(days=3))
    for user, days in ((bob, 2), (bob, 5)):
        key, _ = ApiKey.objects.create(user=user)
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now - timedelta(days=days))
    seen = {member.user.username: member.last_seen for member in members_of(acme)}  # type: ignore[attr-defined]
    assert seen == {"adam": None, "alice": now - timedelta(days=1), "bob": now - timedelta(days=2)}
    assert list(seen) == ["adam", "alice", "bob"]


def test_a_membership_goes_with_its_user_alone(acme: Organization, adam: User, alice: User) -> None:
    remove_member(acme, alice, by=adam)
    assert User.objects.filter(pk=alice.pk, is_active=True).exists()
    assert Membership.objects.count() == 1
