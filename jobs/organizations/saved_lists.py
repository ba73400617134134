"""Saved views: who sees, makes and removes one."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.http import Http404, QueryDict
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import Organization, SavedView
from jobs.permissions import AnyUser, Team
from jobs.roles import Role

#: More are no list to choose from.
MOST_OF_ONE = 30


def views_for(user: AnyUser, teams: Sequence[Team]) -> QuerySet[SavedView]:
    """Return the user's own views and those of their organizations, by name.

    A key for one organization is shown that one's alone.
    """
    shown = Q(organization__in=[team.id for team in teams])
    if organization_of_key(user) is None:
        shown |= Q(owner=user.pk or 0, organization=None)
    return SavedView.objects.filter(shown).order_by("name", "pk")


def save_view(name: str, parameters: QueryDict, *, by: User, organization: Organization | None = None) -> SavedView:
    """Return a new view of this address.

    Raises ValidationError for a name that can't be or is too long an address, and Conflict for a name that is taken and
    for one view too many. The organization must be one of the user's.
    """
    view = SavedView(owner=by, organization=organization, name=name.strip(), query=_query(parameters))
    view.clean_fields(exclude={"owner", "organization"})
    try:
        with unit_of_work():
            if by.saved_views.count() >= MOST_OF_ONE:
                raise Conflict(f"You have {MOST_OF_ONE} saved views, the maximum. Remove one first.")
            view.save(force_insert=True)
            if organization is not None:
                record("view_shared", view, by=by, organization=organization, after={"name": view.name})
    except IntegrityError as error:
        raise Conflict(f"You already have a view {view.name}.", code="name_taken") from error
    return view


def _query(parameters: QueryDict) -> str:
    query = parameters.copy()
    for name in ("cursor", "id"):
        query.pop(name, None)
    return query.urlencode()


def remove_view(view_id: int, *, by: User, teams: Sequence[Team]) -> SavedView:
    """Remove a view that `by` made, or that is of an organization of which `by` is an admin. Returns it.

    Raises Http404 for one that `by` doesn't see, and PermissionDenied for another member's.
    """
    with unit_of_work():
        view = views_for(by, teams).select_related("organization").filter(pk=view_id).first()
        if view is None:
            raise Http404
        if not may_remove(view, by, teams):
            raise PermissionDenied("Only its author or an admin of its organization can remove this view.")
        if view.organization is not None:
            record("view_removed", view, by=by, organization=view.organization, before={"name": view.name})
        SavedView.objects.filter(pk=view.pk).delete()
    return view


def may_remove(view: SavedView, user: AnyUser, teams: Sequence[Team]) -> bool:
    administered = {team.id for team in teams if team.role == Role.ADMIN}
    return view.owner_id == user.pk or view.organization_id in administered
