"""People across organizations: the end of somebody's access, and who is a superuser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import ApiKey
from jobs.models import Organization
from jobs.organizations.people import (
    deactivate_user,
    delete_user,
    end_superuser,
    make_superuser,
    reactivate_user,
)
from jobs.permissions import lock_submitter
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db


class TestUsers:
    def test_one_is_deactivated_once(self, alice: User, root: User) -> None:
        assert deactivate_user(alice, by=root)
        assert not alice.is_active
        alice.refresh_from_db()
        assert not alice.is_active
        assert not deactivate_user(alice, by=root)

    def test_nobody_deactivates_themselves(self, root: User) -> None:
        with pytest.raises(Conflict, match="yourself"):
            deactivate_user(root, by=root)
        root.refresh_from_db()
        assert root.is_active

    def test_nor_does_one_who_was_deactivated_meanwhile(self, alice: User, root: User) -> None:
        User.objects.filter(pk=root.pk).update(is_active=False)
        with pytest.raises(PermissionDenied):
            deactivate_user(alice, by=root)
        alice.refresh_from_db()
        assert alice.is_active

    def test_nothing_else_of_a_stale_copy_is_written(self, alice: User, root: User) -> None:
        User.objects.filter(pk=alice.pk).update(email="new@example.org")
        assert deactivate_user(alice, by=root)
        alice.refresh_from_db()
        assert alice.email == "new@example.org"

    def test_whose_keys_and_sessions_end_with_it(self, alice: User, bob: User, root: User) -> None:
        browsers = [Client(), Client()]
        for owner, browser in zip((alice, bob), browsers, strict=True):
            ApiKey.objects.create(user=owner)
            browser.force_login(owner)
            browser.get("/api/cloud/jobs")
        deactivate_user(alice, by=root)
        reactivate_user(alice, by=root)
        assert [key.user for key in ApiKey.objects.all()] == [bob]
        assert [browser.get("/api/cloud/jobs").status_code for browser in browsers] == [401, 200]


class TestSuperusers:
    def test_one_is_made_and_ended(self, alice: User, root: User) -> None:
        assert make_superuser(alice, by=root)
        assert not make_superuser(alice, by=root)
        alice.refresh_from_db()
        assert (alice.is_superuser, alice.is_staff) == (True, True)
        assert end_superuser(root, by=alice)
        root.refresh_from_db()
        assert (root.is_superuser, root.is_staff, root.is_active) == (False, False, True)
        assert not end_superuser(root, by=alice)

    def test_the_last_one_stays(self, root: User, alice: User) -> None:
        for end in (end_superuser, delete_user):
            with pytest.raises(Conflict, match="root is the last superuser") as refused:
                end(root, by=root)
            assert refused.value.get_codes() == "last_superuser"
        with pytest.raises(Conflict, match="last superuser"):
            deactivate_user(root, by=OPERATOR)
        root.refresh_from_db()
        assert root.is_superuser and root.is_active

    def test_one_who_is_deactivated_does_not_count(self, root: User) -> None:
        User.objects.create_superuser("former", is_active=False)
        with pytest.raises(Conflict, match="last superuser"):
            end_superuser(root, by=root)

    def test_one_of_two_may_go(self, root: User) -> None:
        second = User.objects.create_superuser("second")
        assert deactivate_user(root, by=second)
        with pytest.raises(Conflict):
            end_superuser(second, by=second)

    def test_a_deactivated_user_becomes_none(self, root: User, alice: User) -> None:
        deactivate_user(alice, by=root)
        with pytest.raises(Conflict, match="alice is deactivated"):
            make_superuser(alice, by=root)
        assert reactivate_user(alice, by=root)
        assert not reactivate_user(alice, by=root)
        assert make_superuser(alice, by=root)

    @pytest.mark.parametrize("verb", [deactivate_user, reactivate_user, make_superuser, end_superuser, delete_user])
    def test_nobody_else_does_any_of_it(self, charlie: User, bob: User, verb: Callable[..., object]) -> None:
        with pytest.raises(PermissionDenied):
            verb(bob, by=charlie)
        bob.refresh_from_db()
        assert bob.is_active and not bob.is_superuser
        assert not AuditRecord.objects.exists()

    @pytest.mark.parametrize("verb", [deactivate_user, make_superuser, delete_user])
    def test_nor_a_superuser_with_a_key_for_one_organization(
        self, acme: Organization, root: User, bob: User, verb: Callable[..., object]
    ) -> None:
        root.key_organization_id = acme.pk  # type: ignore[attr-defined]
        with pytest.raises(PermissionDenied):
            verb(bob, by=root)
        bob.refresh_from_db()
        assert bob.is_active and not bob.is_superuser

    def test_each_is_on_record(self, root: User, alice: User) -> None:
        make_superuser(alice, by=root)
        deactivate_user(alice, by=OPERATOR)
        reactivate_user(alice, by=root)
        end_superuser(alice, by=root)
        delete_user(alice, by=root)
        rows = AuditRecord.objects.order_by("id").values_list("action", "actor", "subject", "before", "after")
        assert list(rows) == [
            ("superuser_made", "root", "alice", {"is_superuser": False}, {"is_superuser": True}),
            ("user_deactivated", "operator", "alice", {"is_active": True}, {"is_active": False}),
            ("user_reactivated", "root", "alice", {"is_active": False}, {"is_active": True}),
            ("superuser_ended", "root", "alice", {"is_superuser": True}, {"is_superuser": False}),
            ("user_deleted", "root", "alice", {"email": "alice@example.org", "is_superuser": False}, None),
        ]
        assert not User.objects.filter(username="alice").exists()


class TestSubmitters:
    @pytest.mark.parametrize("role", [Role.RESEARCHER, Role.LEAD, Role.ADMIN])
    def test_a_submitter_has_their_role(self, acme: Organization, role: Role) -> None:
        user = make_user("dana", acme, role)
        with unit_of_work():
            assert lock_submitter(user, acme) == role

    @pytest.mark.parametrize("who", ["alice", "root"])
    def test_nobody_submits_for_a_closed_organization(
        self, request: pytest.FixtureRequest, alice: User, root: User, acme: Organization, who: str
    ) -> None:
        Organization.objects.update(closed_at="2026-01-01T00:00Z")
        with unit_of_work(), pytest.raises(PermissionDenied, match="acme is closed"):
            lock_submitter(request.getfixturevalue(who), acme)

    def test_a_superuser_is_an_admin_everywhere(self, acme: Organization, root: User) -> None:
        with unit_of_work():
            assert lock_submitter(root, acme) == Role.ADMIN

    @pytest.mark.parametrize("change", ["deactivated", "taken out", "made a viewer", "of another organization"])
    def test_one_whose_right_has_ended_is_refused(self, acme: Organization, charlie: User, change: str) -> None:
        user = make_user("dana", acme)
        if change == "deactivated":
            User.objects.filter(pk=user.pk).update(is_active=False)
        if change == "taken out":
            user.memberships.all().delete()
        if change == "made a viewer":
            user.memberships.update(role=Role.VIEWER)
        other = charlie if change == "of another organization" else user
        with unit_of_work(), pytest.raises(PermissionDenied, match="no longer submit jobs for acme"):
            lock_submitter(other, acme)

    @pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": False}])
    def test_so_is_one_who_was_a_superuser(self, acme: Organization, root: User, change: dict[str, bool]) -> None:
        User.objects.filter(pk=root.pk).update(**change)
        with unit_of_work(), pytest.raises(PermissionDenied):
            lock_submitter(root, acme)
