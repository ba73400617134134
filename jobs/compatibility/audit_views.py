"""The audit record by the names of SimpleTuner's command line: `auth audit`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import MAX_OFFSET, StrictSerializer, as_utc, takes
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.queries import MAX_PAGE_SIZE, PAGE_SIZE, AuditFilter, actions_in, of_person
from cloudtrain_site.compatibility.elsewhere import CompatibleView
from cloudtrain_site.models import Scope
from jobs.compatibility.people_views import find_person
from jobs.permissions import AnyUser, is_superuser, organizations_of
from jobs.roles import Role

NO_CHAIN = (
    "The audit record has no chain of hashes: the database refuses to change or delete its rows, as "
    "docs/organizations.md says."
)
#: The records that `security` lists say who gets in, and what they may do.
SECURITY = Q(subject_kind="user") | Q(action__contains="key") | Q(action__contains="sso") | Q(action__contains="member")


class PageQuery(StrictSerializer):
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE_SIZE, default=PAGE_SIZE)
    offset = serializers.IntegerField(min_value=0, max_value=MAX_OFFSET, default=0)


class AuditQuery(PageQuery):
    event_type = serializers.CharField(max_length=60, required=False)
    actor_id = serializers.IntegerField(min_value=1, required=False)
    target_type = serializers.CharField(max_length=40, required=False)
    target_id = serializers.CharField(max_length=100, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class AuditView(CompatibleView):
    """A view of the audit record: superusers see all records, and admins those of their organizations."""

    def records(self, user: AnyUser) -> QuerySet[AuditRecord]:
        """Return the records that the user may see, newest first. Raises PermissionDenied."""
        if is_superuser(user):
            return AuditRecord.objects.order_by("-pk")
        administered = list(organizations_of(user, (Role.ADMIN,)).values_list("pk", flat=True))
        if not administered:
            raise PermissionDenied("The audit record is for an organization's admins, and for superusers.")
        return AuditRecord.objects.filter(organization_id__in=administered).order_by("-pk")


class Audit(AuditView):
    @needs(Scope.ADMINISTER)
    @takes(AuditQuery)
    def get(self, request: Request) -> Response:
        """List who changed what."""
        found = self.records(request.user)
        query = self.query
        chosen = AuditFilter(
            action=query.get("event_type", ""),
            subject_kind=query.get("target_type", ""),
            subject_id=query.get("target_id", ""),
            since=query.get("since"),
            until=query.get("until"),
        ).apply(found)
        if "actor_id" in query:
            chosen = chosen.filter(actor_user_id=query["actor_id"])
        return _page(chosen, query)


class AuditOfUser(AuditView):
    @needs(Scope.ADMINISTER)
    @takes(PageQuery)
    def get(self, request: Request, user_id: int) -> Response:
        """List what a person changed, and what was changed about them."""
        found = self.records(request.user)
        if not is_superuser(request.user):  # Superusers see the records of people who are gone, too.
            find_person(request.user, user_id)
        return _page(found & of_person(user_id), self.query)


class AuditOfSecurity(AuditView):
    @needs(Scope.ADMINISTER)
    @takes(PageQuery)
    def get(self, request: Request) -> Response:
        """List changes of people, members, keys and single sign-on."""
        return _page(self.records(request.user).filter(SECURITY), self.query)


class AuditStats(AuditView):
    @needs(Scope.ADMINISTER)
    def get(self, request: Request) -> Response:
        """Count the records."""
        found = self.records(request.user).order_by()
        ends = found.aggregate(first=Min("at"), last=Max("at"), count=Count("pk"))
        by_type = dict(found.values_list("action").annotate(count=Count("pk")))
        lately = found.filter(at__gt=timezone.now() - timedelta(days=1)).count()
        first, last = as_utc(ends["first"]), as_utc(ends["last"])
        figures = {"total_entries": ends["count"], "last_24h": lately, "first_entry": first, "last_entry": last}
        return Response({**figures, "by_type": by_type})


class AuditTypes(AuditView):
    @needs(Scope.ADMINISTER)
    def get(self, request: Request) -> Response:
        """List the actions that occur."""
        actions = actions_in(self.records(request.user).order_by())
        return Response({"event_types": [{"value": one, "name": one.replace("_", " ")} for one in actions]})


def _page(records: QuerySet[AuditRecord], query: dict[str, Any]) -> Response:
    first, count = query["offset"], query["limit"]
    rows = list(records[first : first + count + 1])
    return Response({"entries": [_shown(row) for row in rows[:count]], "has_more": len(rows) > count})


def _shown(row: AuditRecord) -> dict[str, Any]:
    return {
        "id": row.pk,
        "timestamp": as_utc(row.at),
        "event_type": row.action,
        "actor_id": row.actor_user_id,
        "actor_username": row.actor,
        "actor_ip": row.address or None,
        "action": row.action.replace("_", " "),
        "target_type": row.subject_kind,
        "target_id": row.subject_id,
        "details": {"subject": row.subject, "before": row.before, "after": row.after},
    }
