"""The site's first account, and its organization."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import Http404

from cloudtrain_site.accounts.first_link import is_first_link, use_first_link
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.models import Organization
from jobs.organizations.endings import create_organization
from jobs.organizations.invitations import check_account
from jobs.organizations.members import add_member
from jobs.roles import Role


def make_first_account(token: str, username: str, password: str, *, email: str = "") -> User:
    """Make the first account, a superuser, with the one-time link's token. Of two at once, one wins.

    Raises Http404 for a wrong, old or used token and once anybody has an account, and ValidationError by field for what
    an account can't have; the link stays then.
    """
    if not is_first_link(token):  # who has no link learns nothing of names and passwords
        raise Http404
    user = User(username=username, email=User.objects.normalize_email(email), is_staff=True, is_superuser=True)
    check_account(user, password)
    user.set_password(password)  # takes long, so not in the transaction
    with unit_of_work():
        if not use_first_link(token):
            raise Http404
        user.save(force_insert=True)
        record("user_made", user, by=user, after={"email": user.email, "is_superuser": True})
    return user


def make_first_organization(name: str, *, by: User) -> Organization:
    """Make an organization with its maker as admin. Raises ValidationError for its name, and PermissionDenied."""
    with unit_of_work():
        organization = create_organization(name, by=by)
        add_member(organization, by, Role.ADMIN, by=by)
    return organization
