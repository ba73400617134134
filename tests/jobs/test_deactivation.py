"""The end of somebody's access, and of all memberships of an organization."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.deactivation import deactivate_user, end_memberships
from jobs.models import Job, Membership, Organization
from jobs.permissions import lock_submitter
from jobs.roles import Role
from jobs.statuses import ACTIVE, TERMINAL
from tests.factories import make_user

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


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


class TestOrganizations:
    @pytest.mark.parametrize("status", sorted(TERMINAL))
    def test_all_members_are_taken_out_once_its_jobs_have_ended(
        self, acme: Organization, alice: User, bob: User, charlie: User, make_job: MakeJob, status: str
    ) -> None:
        make_job(status=status)
        assert end_memberships(acme) == 2
        assert list(Membership.objects.values_list("user__username", flat=True)) == ["charlie"]
        assert end_memberships(acme) == 0

    @pytest.mark.parametrize("status", sorted(ACTIVE))
    def test_nobody_is_while_one_waits_or_runs(
        self, acme: Organization, alice: User, make_job: MakeJob, status: str
    ) -> None:
        make_job(status=status)
        with pytest.raises(Conflict, match="acme has 1 job that did not end yet: cancel it first"):
            end_memberships(acme)
        assert Membership.objects.count() == 1

    def test_jobs_of_others_do_not_count(
        self, acme: Organization, alice: User, charlie: User, make_job: MakeJob
    ) -> None:
        make_job(status="running", organization=Organization.objects.get(name="other"))
        assert end_memberships(acme) == 1


class TestSubmitters:
    @pytest.mark.parametrize("role", [Role.RESEARCHER, Role.LEAD, Role.ADMIN])
    def test_a_submitter_has_their_role(self, acme: Organization, role: Role) -> None:
        user = make_user("dana", acme, role)
        with unit_of_work():
            assert lock_submitter(user, acme) == role

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
        with unit_of_work(), pytest.raises(PermissionDenied, match="no longer submit for acme"):
            lock_submitter(other, acme)

    @pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": False}])
    def test_so_is_one_who_was_a_superuser(self, acme: Organization, root: User, change: dict[str, bool]) -> None:
        User.objects.filter(pk=root.pk).update(**change)
        with unit_of_work(), pytest.raises(PermissionDenied):
            lock_submitter(root, acme)
