"""For which organization somebody acts."""

from __future__ import annotations

from rest_framework.exceptions import PermissionDenied, ValidationError

from jobs.models import Membership, Organization
from jobs.permissions import AnyUser, can_submit, is_superuser, organizations_of
from jobs.roles import SUBMITTERS


def choose_organization(user: AnyUser, name: str = "") -> Organization:
    """The organization called `name`; without a name, the one that `user` joined first as a submitter.

    Raises ValidationError for one that the user doesn't belong to (or that there isn't: nobody learns which), and
    PermissionDenied for a user who may submit nowhere.
    """
    if not name:
        return _first(user)
    organization = organizations_of(user).filter(name=name).first()
    if organization is None:
        raise ValidationError({"organization": f"You belong to no organization called {name!r}."})
    if not can_submit(user, organization):
        raise PermissionDenied(f"You are a viewer in {name}: you may look, not submit.")
    return organization


def _first(user: AnyUser) -> Organization:
    memberships = Membership.objects.filter(user_id=user.pk or 0, role__in=SUBMITTERS).select_related("organization")
    membership = memberships.order_by("id").first()
    if membership is not None:
        return membership.organization
    fallback = Organization.objects.order_by("id").first() if is_superuser(user) else None
    if fallback is None:
        raise PermissionDenied(
            "You may submit for no organization. Ask an admin to add you as a researcher: "
            "manage.py add_member USER ORGANIZATION researcher"
        )
    return fallback
