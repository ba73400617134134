"""Organizations and people in lists, for superusers."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, F, Max, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest

from jobs.models import Job, Membership, Organization
from jobs.statuses import ACTIVE


def organizations_by_name(search: str = "") -> QuerySet[Organization]:
    """Return those whose name contains `search`, each with `member_count` and `active_count`, its jobs in work."""
    found = Organization.objects.filter(name__icontains=search) if search else Organization.objects.all()
    # Each counted by itself: joined, an organization's jobs would be counted once for each of its members.
    members = Membership.objects.filter(organization=OuterRef("pk"), user__service_account=None).order_by()
    active = Job.objects.filter(organization=OuterRef("pk"), completed_at=None, status__in=ACTIVE).order_by()
    return found.annotate(member_count=_count_of(members), active_count=_count_of(active)).order_by("name")


def _count_of(rows: QuerySet[Any]) -> Coalesce:
    counts = rows.values("organization").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counts), 0)


def people_by_name(search: str = "") -> QuerySet[User]:
    """Return those whose name, address or organization contains `search`, each with `last_seen` and memberships."""
    found = User.objects.filter(service_account=None)
    if search:
        own = Q(username__icontains=search) | Q(email__icontains=search)
        names = Q(first_name__icontains=search) | Q(last_name__icontains=search)
        members = Membership.objects.filter(organization__name__icontains=search)
        found = found.filter(own | names | Q(pk__in=members.values("user")))
    # A null among the arguments makes SQLite's result null, so each stands in for the other.
    signed_in, key_used = F("last_login"), Max("auth_token_set__last_used_at")
    memberships = Membership.objects.select_related("organization").order_by("organization__name")
    return (
        found.annotate(last_seen=Coalesce(Greatest(signed_in, key_used), signed_in, key_used))
        .prefetch_related(Prefetch("memberships", memberships))
        .order_by("username")
    )
