"""Invitations: accepted once, in time, by whom they are for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import Http404
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.errors import Conflict
from cloudtrain_site.redaction import mask_text
from jobs.models import Invitation, Membership, Organization
from jobs.organizations import invitations
from jobs.organizations.invitations import accept, accept_as_new, find_invitation, invitations_of, invite, withdraw
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db
PASSWORD = "three unlikely words"


@pytest.fixture
def adam(acme: Organization) -> User:
    return make_user("adam", acme, Role.ADMIN)


@pytest.fixture
def dana(db: None) -> User:
    """Somebody of no organization."""
    return User.objects.create_user("dana", "dana@example.org", "unused-password")


def test_a_link_makes_its_holder_a_member_once(acme: Organization, adam: User, dana: User, alice: User) -> None:
    _, token = invite(acme, Role.LEAD, by=adam)
    assert find_invitation(token).organization == acme
    assert accept(token, dana).role == Role.LEAD
    other = User.objects.create_user("other")
    for again in (lambda: accept(token, dana), lambda: accept(token, other), lambda: find_invitation(token)):
        with pytest.raises(Conflict, match="already used") as refused:
            again()
        assert refused.value.get_codes() == "invitation_accepted"
    assert set(Membership.objects.filter(organization=acme).values_list("user__username", flat=True)) == {
        *("adam", "alice", "dana")
    }
    actions = AuditRecord.objects.order_by("id").values_list("action", "actor", "organization")
    assert list(actions) == [
        ("invitation_made", "adam", "acme"),
        ("member_added", "dana", "acme"),
        ("invitation_accepted", "dana", "acme"),
    ]


def test_of_its_token_only_a_digest_is_kept(acme: Organization, adam: User) -> None:
    invitation, token = invite(acme, Role.VIEWER, by=adam)
    rows = [Invitation.objects.values().get(), *AuditRecord.objects.values()]
    assert token not in str(rows) and token[3:] not in str(rows)
    assert invitation.token_digest != token and len(token) > 60
    assert token not in mask_text(f"GET /invitations/{token} 200")


@pytest.mark.parametrize("token", ["", "ct_nothing", "ü", "a\x00", "\ud800"], ids=ascii)
def test_an_unknown_link_leads_nowhere(acme: Organization, adam: User, dana: User, token: str) -> None:
    invite(acme, Role.VIEWER, by=adam)
    for use in (lambda: find_invitation(token), lambda: accept(token, dana)):
        with pytest.raises(Http404, match="does not exist"):
            use()
    with pytest.raises(Http404):
        accept_as_new(token, "new", PASSWORD)
    assert not User.objects.filter(username="new").exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD])
def test_only_admins_invite_and_withdraw(acme: Organization, adam: User, charlie: User, role: Role) -> None:
    invitation, _ = invite(acme, Role.VIEWER, by=adam)
    for person in (make_user("olga", acme, role), charlie):
        with pytest.raises(PermissionDenied):
            invite(acme, Role.VIEWER, by=person)
        with pytest.raises(PermissionDenied):
            withdraw(acme, invitation.pk, by=person)
    assert list(invitations_of(acme)) == [invitation]


def test_a_withdrawn_one_is_accepted_by_nobody(acme: Organization, adam: User, dana: User) -> None:
    invitation, token = invite(acme, Role.VIEWER, by=adam)
    withdraw(acme, invitation.pk, by=adam)
    with pytest.raises(Conflict, match="withdrawn"):
        accept(token, dana)
    with pytest.raises(Conflict, match="withdrawn"):
        withdraw(acme, invitation.pk, by=adam)
    assert not dana.memberships.exists()
    assert AuditRecord.objects.filter(action="invitation_withdrawn").count() == 1


def test_what_is_not_on_record_is_not_withdrawn(
    acme: Organization, adam: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation, token = invite(acme, Role.VIEWER, by=adam)
    monkeypatch.delattr(invitations, "record")
    with pytest.raises(NameError):
        withdraw(acme, invitation.pk, by=adam)
    assert find_invitation(token).withdrawn_at is None


def test_one_that_was_accepted_is_not_withdrawn(acme: Organization, adam: User, dana: User) -> None:
    invitation, token = invite(acme, Role.VIEWER, by=adam)
    accept(token, dana)
    with pytest.raises(Conflict, match="already used"):
        withdraw(acme, invitation.pk, by=adam)


def test_one_of_another_organization_is_not_found(acme: Organization, adam: User, charlie: User) -> None:
    theirs, _ = invite(Organization.objects.get(name="other"), Role.VIEWER, by=charlie)
    with pytest.raises(Http404):
        withdraw(acme, theirs.pk, by=adam)
    assert theirs.state(timezone.now()) == "open"


def test_late_is_too_late(acme: Organization, adam: User, dana: User) -> None:
    invitation, token = invite(acme, Role.VIEWER, by=adam, days=2)
    assert invitation.expires_at - invitation.created_at >= timedelta(days=2) - timedelta(seconds=5)
    Invitation.objects.update(expires_at=timezone.now())
    with pytest.raises(Conflict, match="expired"):
        accept(token, dana)
    with pytest.raises(Conflict, match="expired"):
        accept_as_new(token, "new", PASSWORD)
    assert not invitations_of(acme).exists()
    assert not User.objects.filter(username="new").exists()


def test_it_lasts_a_week_unless_something_else_is_chosen(acme: Organization, adam: User) -> None:
    invitation, _ = invite(acme, Role.VIEWER, by=adam)
    lasts = invitation.expires_at - invitation.created_at
    assert timedelta(days=7) - timedelta(seconds=5) <= lasts <= timedelta(days=7, seconds=5)


@pytest.mark.parametrize("days", [0, -1, 91])
def test_it_lasts_a_sensible_time(acme: Organization, adam: User, days: int) -> None:
    with pytest.raises(ValidationError, match="1 to 90 days"):
        invite(acme, Role.VIEWER, by=adam, days=days)
    assert not Invitation.objects.exists()


def test_an_address_that_is_none_is_refused(acme: Organization, adam: User) -> None:
    with pytest.raises(ValidationError):
        invite(acme, Role.VIEWER, by=adam, email="dana")
    assert not Invitation.objects.exists()


def test_there_is_an_end_to_how_many_are_open(acme: Organization, adam: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MAX_OPEN", 1)
    first, _ = invite(acme, Role.VIEWER, by=adam)
    with pytest.raises(Conflict, match="1 open invitations"):
        invite(acme, Role.VIEWER, by=adam)
    withdraw(acme, first.pk, by=adam)
    invite(acme, Role.VIEWER, by=adam)


def test_a_member_needs_none(acme: Organization, adam: User, alice: User, dana: User) -> None:
    _, token = invite(acme, Role.ADMIN, by=adam)
    with pytest.raises(Conflict, match="alice is a member of acme already"):
        accept(token, alice)
    assert alice.memberships.get().role == Role.RESEARCHER
    assert accept(token, dana).role == Role.ADMIN  # it is not used up


class TestOneForAnAddress:
    def test_is_accepted_by_who_has_it(self, acme: Organization, adam: User, dana: User) -> None:
        _, token = invite(acme, Role.VIEWER, by=adam, email="Dana@Example.org")
        assert accept(token, dana).user == dana

    def test_is_for_nobody_else(self, acme: Organization, adam: User, dana: User, charlie: User) -> None:
        _, token = invite(acme, Role.VIEWER, by=adam, email="dana@example.org")
        with pytest.raises(PermissionDenied, match="another mail address") as refused:
            accept(token, charlie)
        assert "dana" not in str(refused.value.detail)
        assert not charlie.memberships.filter(organization=acme).exists()
        assert accept(token, dana).user == dana

    def test_makes_no_second_account(self, acme: Organization, adam: User, dana: User) -> None:
        _, token = invite(acme, Role.VIEWER, by=adam, email="DANA@example.org")
        with pytest.raises(ValidationError) as refused:
            accept_as_new(token, "dana2", PASSWORD)
        assert set(refused.value.message_dict) == {"email"}
        assert not User.objects.filter(username="dana2").exists()
        assert find_invitation(token).accepted_at is None

    def test_gives_a_new_account_that_address(self, acme: Organization, adam: User) -> None:
        _, token = invite(acme, Role.RESEARCHER, by=adam, email="new@example.org")
        user = accept_as_new(token, "newcomer", PASSWORD, email="else@example.org")
        assert (user.email, user.check_password(PASSWORD)) == ("new@example.org", True)
        assert user.memberships.get().role == Role.RESEARCHER

    def test_leads_into_two_organizations_at_once(self, acme: Organization, adam: User, charlie: User) -> None:
        other = Organization.objects.get(name="other")
        _, first = invite(acme, Role.VIEWER, by=adam, email="new@example.org")
        _, second = invite(other, Role.LEAD, by=charlie, email="new@example.org")
        user = accept_as_new(first, "newcomer", PASSWORD)
        with pytest.raises(ValidationError):
            accept_as_new(second, "newcomer2", PASSWORD)
        accept(second, user)
        assert dict(user.memberships.values_list("organization__name", "role")) == {"acme": "viewer", "other": "lead"}


class TestNewAccounts:
    @pytest.mark.parametrize(
        ("name", "password", "field"),
        [
            ("newcomer", "short", "password"),
            ("newcomer", "", "password"),
            ("newcomer", "password1234", "password"),
            ("newcomer-of-acme", "newcomer-of-acme", "password"),
            ("alice", PASSWORD, "username"),
            ("ALICE", PASSWORD, "username"),
            ("", PASSWORD, "username"),
            ("a b", PASSWORD, "username"),
            ("a" * 151, PASSWORD, "username"),
        ],
    )
    def test_a_bad_one_is_not_made(
        self, acme: Organization, adam: User, alice: User, name: str, password: str, field: str
    ) -> None:
        _, token = invite(acme, Role.VIEWER, by=adam)
        with pytest.raises(ValidationError) as refused:
            accept_as_new(token, name, password)
        assert set(refused.value.message_dict) == {field}
        assert password or refused.value.message_dict["password"] == ["Choose a password."]
        assert User.objects.count() == 2
        assert find_invitation(token).accepted_at is None

    @pytest.mark.parametrize("email", ["nothing", "ALICE@example.org"])
    def test_nor_one_with_a_bad_or_a_taken_address(
        self, acme: Organization, adam: User, alice: User, email: str
    ) -> None:
        _, token = invite(acme, Role.VIEWER, by=adam)
        with pytest.raises(ValidationError) as refused:
            accept_as_new(token, "newcomer", PASSWORD, email=email)
        assert set(refused.value.message_dict) == {"email"}
        assert User.objects.count() == 2

    def test_nor_one_whose_address_was_taken_meanwhile(
        self, acme: Organization, adam: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, token = invite(acme, Role.VIEWER, by=adam, email="new@example.org")
        lock = invitations._lock

        def lock_after_another(token: str) -> Invitation:
            User.objects.create_user("quicker", "NEW@example.org")
            return lock(token)

        monkeypatch.setattr(invitations, "_lock", lock_after_another)
        with pytest.raises(ValidationError) as refused:
            accept_as_new(token, "newcomer", PASSWORD)
        assert set(refused.value.message_dict) == {"email"}
        assert not User.objects.filter(username="newcomer").exists()

    def test_a_link_for_nobody_in_particular_takes_any_address_or_none(self, acme: Organization, adam: User) -> None:
        for name, email in (("one", "one@example.org"), ("two", "")):
            _, token = invite(acme, Role.VIEWER, by=adam)
            assert accept_as_new(token, name, PASSWORD, email=email).email == email
        made = AuditRecord.objects.filter(action="user_made").order_by("id")
        assert [(row.actor, row.subject) for row in made] == [("one", "one"), ("two", "two")]


def test_nobody_is_invited_to_a_closed_organization(acme: Organization, adam: User, dana: User) -> None:
    _, token = invite(acme, Role.VIEWER, by=adam)
    Organization.objects.update(closed_at=timezone.now())
    with pytest.raises(Conflict, match="closed"):
        invite(acme, Role.VIEWER, by=OPERATOR)
    with pytest.raises(Conflict, match="closed"):
        accept(token, dana)
    assert not dana.memberships.exists()
