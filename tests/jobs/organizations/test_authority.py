"""Who may change an organization, and who the whole site."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rest_framework.exceptions import PermissionDenied

from jobs.models import Organization
from jobs.organizations.authority import check_administers, check_runs_site
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def with_key_for(user: User, organization: Organization) -> User:
    """The user of a request that came with a key for one organization alone."""
    user.key_organization_id = organization.pk  # type: ignore[attr-defined]
    return user


def test_a_superuser_runs_the_site(root: User) -> None:
    check_runs_site(root)


def test_a_superuser_with_a_key_for_one_organization_administers_that_one_alone(root: User, acme: Organization) -> None:
    other = Organization.objects.create(name="other")
    bound = with_key_for(root, acme)
    check_administers(bound, acme)
    for refused in (lambda: check_runs_site(bound), lambda: check_administers(bound, other)):
        with pytest.raises(PermissionDenied):
            refused()


def test_a_right_that_has_just_ended_counts_no_more(root: User, acme: Organization) -> None:
    adam = make_user("adam", acme, Role.ADMIN)
    check_administers(adam, acme)
    User.objects.update(is_active=False)
    for refused in (lambda: check_runs_site(root), lambda: check_administers(adam, acme)):
        with pytest.raises(PermissionDenied):
            refused()


def test_an_admin_of_an_organization_does_not_run_the_site(acme: Organization, bob: User) -> None:
    for user in (make_user("adam", acme, Role.ADMIN), bob):
        with pytest.raises(PermissionDenied):
            check_runs_site(user)
    with pytest.raises(PermissionDenied):
        check_administers(bob, acme)
