"""Who may read a notice of an organization: its members."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from cloudtrain_site.notices.models import Notice
from jobs.models import Membership


def still_members(notice: Notice, users: QuerySet[User]) -> QuerySet[User]:
    """Leave out the users who have left the notice's organization since the change."""
    if notice.organization_id is None:
        return users
    members = Membership.objects.filter(organization=notice.organization_id)
    return users.filter(Q(is_superuser=True) | Q(pk__in=members.values("user")))
