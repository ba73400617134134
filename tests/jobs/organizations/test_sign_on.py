"""The roles of an identity provider's groups."""

from __future__ import annotations

import logging

import pytest
from django.contrib.auth.models import User

from cloudtrain_site.audit.models import AuditRecord, AuditSource
from jobs.models import Membership, Organization
from jobs.organizations.sign_on import follow_roles
from jobs.roles import Role
from tests.factories import make_user


def roles_of(user: User) -> dict[str, str]:
    return dict(Membership.objects.filter(user=user).values_list("organization__name", "role"))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(vars(record).get("reason")) for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_group_makes_a_member(acme: Organization, charlie: User) -> None:
    follow_roles(charlie, {"acme": "researcher"})
    assert roles_of(charlie) == {"acme": "researcher", "other": "admin"}
    row = AuditRecord.objects.get(action="member_added")
    assert (row.source, row.actor, row.organization) == (AuditSource.SSO, "single sign-on", "acme")


def test_a_group_changes_a_role(alice: User) -> None:
    follow_roles(alice, {"acme": "lead"})
    assert roles_of(alice) == {"acme": "lead"}


def test_who_lost_the_group_loses_the_membership(alice: User, acme: Organization) -> None:
    follow_roles(alice, {"acme": None})
    assert roles_of(alice) == {}
    assert AuditRecord.objects.filter(action="member_removed", source=AuditSource.SSO).exists()


def test_organizations_without_a_group_stay_as_they_are(alice: User) -> None:
    follow_roles(alice, {})
    assert roles_of(alice) == {"acme": "researcher"}


def test_the_same_role_again_changes_nothing(alice: User) -> None:
    follow_roles(alice, {"acme": "researcher"})
    assert not AuditRecord.objects.exists()


@pytest.mark.parametrize("role", [None, "viewer"])
def test_the_last_admin_stays_and_the_log_says_so(
    charlie: User, role: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    follow_roles(charlie, {"other": role})
    assert roles_of(charlie) == {"other": "admin"}
    assert any("last admin" in reason for reason in warnings(caplog))


def test_a_second_admin_may_lose_the_role(charlie: User) -> None:
    make_user("dora", Organization.objects.get(name="other"), Role.ADMIN)
    follow_roles(charlie, {"other": None})
    assert roles_of(charlie) == {}


def test_an_organization_that_is_not_there_is_not_made(alice: User, caplog: pytest.LogCaptureFixture) -> None:
    follow_roles(alice, {"nowhere": "admin", "acme": "lead"})
    assert roles_of(alice) == {"acme": "lead"}
    assert not Organization.objects.filter(name="nowhere").exists()
    assert any("no organization nowhere" in reason for reason in warnings(caplog))
