"""What became of notices, over HTTP."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.api_keys import organization_of_key
from cloudtrain_site.api import StrictSerializer, UtcField, as_utc, current_user, raises, rendered, takes
from cloudtrain_site.notices.channels import Owner
from cloudtrain_site.notices.deliveries import STATES, in_state
from cloudtrain_site.notices.models import Delivery
from cloudtrain_site.strict_views import StrictView
from jobs.permissions import organizations_of, role_in
from jobs.roles import Role

MAX_LIMIT = 500


class DeliveriesQuery(StrictSerializer):
    """Which deliveries: one's own, or an organization's; in one state; after a cursor."""

    organization = serializers.CharField(
        required=False, default="", help_text="Show this organization's deliveries. For its admins."
    )
    state = serializers.ChoiceField(STATES, required=False, default="")
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=50)
    cursor = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class DeliverySerializer(serializers.Serializer[Delivery]):
    """One notice on its way to one recipient."""

    id = serializers.IntegerField()
    kind = serializers.CharField(source="notice.kind")
    subject = serializers.CharField(source="notice.subject")
    job_id = serializers.SerializerMethodField()
    channel = serializers.CharField(source="kind")
    to = serializers.CharField(source="shown", help_text="The address without its secret parts.")
    message_id = serializers.CharField()
    state = serializers.ChoiceField(STATES)
    tries = serializers.IntegerField()
    created_at = UtcField()
    next_attempt_at = serializers.SerializerMethodField()
    done_at = UtcField(allow_null=True)
    reason = serializers.CharField(help_text="Why the last attempt failed.")

    def get_job_id(self, delivery: Delivery) -> str | None:
        return delivery.notice.job_id or None

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, delivery: Delivery) -> str | None:
        return None if delivery.done_at else as_utc(delivery.next_attempt_at)


class DeliveryListSerializer(serializers.Serializer[Any]):
    """Deliveries, newest first."""

    deliveries = DeliverySerializer(many=True)
    next_cursor = serializers.IntegerField(allow_null=True)


class Deliveries(StrictView):
    @extend_schema(operation_id="notices_deliveries", responses=DeliveryListSerializer)
    @raises(PermissionDenied)
    @takes(DeliveriesQuery)
    def get(self, request: Request) -> Response:
        """List notice deliveries."""
        query = self.query
        user = current_user(request)
        rows = in_state(_owner(user, query["organization"]).deliveries(), query["state"])
        if (bound := organization_of_key(user)) is not None:
            rows = rows.filter(notice__organization_id=bound)
        if "cursor" in query:
            rows = rows.filter(pk__lt=query["cursor"])
        found = list(rows[: query["limit"] + 1])
        shown = found[: query["limit"]]
        more = len(found) > len(shown)
        return rendered(DeliveryListSerializer, {"deliveries": shown, "next_cursor": shown[-1].pk if more else None})


def _owner(user: User, name: str) -> Owner:
    """Return whose deliveries are shown.

    Raises ValidationError for a foreign organization, PermissionDenied for no admin.
    """
    if not name:
        return Owner(user)
    organization = organizations_of(user).filter(name=name).first()
    if organization is None:
        raise exceptions.ValidationError({"organization": "You aren't a member of an organization with this name."})
    if role_in(user, organization) != Role.ADMIN:
        raise PermissionDenied("Only admins of the organization can see its deliveries.")
    return Owner(organization=organization, by=user)
