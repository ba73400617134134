"""Organizations made, renamed, closed, reopened and deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import Http404
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied

from approvals.models import ApprovalRule
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.errors import Conflict
from jobs.models import Job, Membership, Organization, TrainingConfig
from jobs.organizations.endings import (
    RunningJobs,
    close,
    create_organization,
    delete_organization,
    rename,
    reopen,
    what_deletion_takes,
)
from jobs.organizations.invitations import find_invitation, invite
from jobs.permissions import choose_organization
from jobs.roles import Role

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def test_a_superuser_makes_and_renames_one(root: User) -> None:
    made = create_organization("labs", by=root)
    assert not made.is_closed and not made.memberships.exists()
    assert rename(made, "labs-2", by=root)
    assert not rename(made, "labs-2", by=root)
    assert Organization.objects.get().name == "labs-2"
    rows = AuditRecord.objects.order_by("id").values_list("action", "organization", "before", "after")
    assert list(rows) == [
        ("organization_made", "labs", None, None),
        ("organization_renamed", "labs-2", {"name": "labs"}, {"name": "labs-2"}),
    ]


@pytest.mark.parametrize("name", ["", "a b", "acme", "ü", "a" * 101, "a/b"])
def test_not_under_a_name_that_is_taken_or_none(acme: Organization, root: User, name: str) -> None:
    other = Organization.objects.create(name="other")
    with pytest.raises(ValidationError):
        create_organization(name, by=root)
    with pytest.raises(ValidationError):
        rename(other, name, by=root)
    assert set(Organization.objects.values_list("name", flat=True)) == {"acme", "other"}
    assert not AuditRecord.objects.exists()


def test_nobody_else_does_any_of_it(acme: Organization, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    for attempt in (
        lambda: create_organization("labs", by=bob),
        lambda: rename(acme, "labs", by=bob),
        lambda: close(acme, by=bob),
        lambda: reopen(acme, by=bob),
        lambda: delete_organization(acme, by=bob),
    ):
        with pytest.raises(PermissionDenied, match="Only superusers"):
            attempt()
    assert Organization.objects.values_list("name", "closed_at").get() == ("acme", None)


class TestClosing:
    def test_waiting_jobs_are_cancelled_and_running_ones_finish(
        self, acme: Organization, alice: User, root: User, make_job: MakeJob
    ) -> None:
        for status in ("pending", "uploading", "queued", "running", "completed"):
            make_job(status=status, config_name=status)
        assert close(acme, by=root) == 2
        statuses = dict(Job.objects.filter(cancel_requested_at=None).values_list("config_name", "status"))
        assert statuses == {
            "pending": "cancelled",
            "uploading": "cancelled",
            "queued": "queued",
            "running": "running",
            "completed": "completed",
        }
        assert acme.is_closed
        row = AuditRecord.objects.get()
        assert row.after == {"running": "finish", "cancelled": 2, "invitations": 0}

    def test_or_all_are_cancelled(self, acme: Organization, alice: User, root: User, make_job: MakeJob) -> None:
        running, waiting = make_job(status="running"), make_job()
        elsewhere = make_job(organization=Organization.objects.create(name="other"))
        assert close(acme, by=root, running=RunningJobs.CANCEL) == 2
        for job in (running, waiting, elsewhere):
            job.refresh_from_db()
        assert (running.cancel_requested_by, waiting.status, elsewhere.status) == ("root", "cancelled", "pending")
        assert elsewhere.cancel_requested_at is None

    def test_happens_once_and_is_taken_back_once(self, acme: Organization, alice: User, root: User) -> None:
        close(acme, by=root)
        with pytest.raises(Conflict, match="already closed"):
            close(acme, by=root)
        reopen(acme, by=root)
        with pytest.raises(Conflict, match="already open"):
            reopen(acme, by=root)
        assert choose_organization(alice, "acme") == acme
        actions = AuditRecord.objects.order_by("id").values_list("action", flat=True)
        assert list(actions) == ["organization_closed", "organization_reopened"]

    def test_ends_open_invitations(self, acme: Organization, root: User) -> None:
        _, token = invite(acme, Role.VIEWER, by=root)
        close(acme, by=root)
        reopen(acme, by=root)
        with pytest.raises(Conflict, match="withdrawn"):
            find_invitation(token)

    def test_nobody_submits_for_it(self, acme: Organization, alice: User, root: User) -> None:
        other = Organization.objects.create(name="other")
        close(acme, by=root)
        for person in (alice, root):
            with pytest.raises(PermissionDenied, match="acme is closed"):
                choose_organization(person, "acme")
        with pytest.raises(PermissionDenied, match="acme is closed"):
            choose_organization(alice)
        assert choose_organization(root) == other
        Membership.objects.create(user=alice, organization=other, role=Role.LEAD)
        assert choose_organization(alice) == other


class TestDeletion:
    def test_lists_what_it_takes_and_takes_it(self, acme: Organization, alice: User, bob: User, root: User) -> None:
        TrainingConfig.objects.create(organization=acme, name="c", config={}, dataloader_config=[])
        ApprovalRule.objects.create(name="r", first_job=True, organization=acme)
        with pytest.raises(Conflict, match="Close it first"):
            delete_organization(acme, by=root)
        close(acme, by=root)
        listed = what_deletion_takes(acme)
        assert (listed.takes, listed.kept_by, listed.objection) == (
            {"approval rules": 1, "memberships": 2, "training configs": 1},
            {},
            "",
        )
        assert delete_organization(acme, by=root) == listed
        assert not Organization.objects.exists() and User.objects.count() == 3
        row = AuditRecord.objects.get(action="organization_deleted")
        assert (row.organization, row.before) == ("acme", listed.takes)
        with pytest.raises(Http404):
            close(acme, by=root)

    def test_one_with_jobs_stays(self, acme: Organization, alice: User, root: User, make_job: MakeJob) -> None:
        make_job(status="completed", cost_usd=7)
        Organization.objects.update(closed_at=timezone.now())
        acme.refresh_from_db()
        listed = what_deletion_takes(acme)
        assert (listed.kept_by, listed.takes) == ({"jobs": 1}, {"memberships": 1})
        with pytest.raises(Conflict, match="It has 1 jobs: their history and their costs stay"):
            delete_organization(acme, by=root)
        assert Organization.objects.exists() and Membership.objects.exists()
