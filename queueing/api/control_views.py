"""Running the queue over HTTP: limits, pause, passes, clean-up."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor, Source
from jobs.models import Organization
from jobs.permissions import is_superuser, manages_anything, organizations_of
from jobs.roles import MANAGERS
from queueing import operations, passes
from queueing.api.serializers import AskedShape, CleanedShape, CleanupQuery, LimitsBody, LimitsShape
from queueing.limits import queue_state
from queueing.models import QueueEntry
from queueing.operations import GENERAL, ChangedBy, LimitError, as_data, clean_up, may_limit, may_run_queue


class Concurrency(APIView):
    """The limits in force, and their change."""

    @extend_schema(responses=LimitsShape)
    def get(self, request: Request) -> Response:
        return Response(as_data(queue_state()))

    @extend_schema(request=LimitsBody, responses=LimitsShape)
    def post(self, request: Request) -> Response:
        body = LimitsBody(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        by = ChangedBy(Actor.of(request.user), Source.API, wanted["reason"])
        general = {name: wanted[name] for name in GENERAL if name in wanted}
        if (general or wanted.get("providers")) and not may_run_queue(request.user):
            raise PermissionDenied("These limits touch every organization: a superuser changes them.")
        own = _own_limits(request, wanted.get("organizations", {}))
        try:
            with unit_of_work():
                operations.set_general(general, by)
                for name, limits in wanted.get("providers", {}).items():
                    operations.set_provider(name, limits, by)
                for organization, limit in own:
                    operations.set_organization(organization, limit, by, may_exceed=is_superuser(request.user))
        except LimitError as error:
            raise ValidationError({"non_field_errors": [str(error)]}) from error
        return Response(as_data(queue_state()))


def _own_limits(request: Request, wanted: dict[str, Any]) -> list[tuple[Organization, int | None]]:
    """The organizations whose own number the asker may set. Raises for any other."""
    own = []
    for name, limit in wanted.items():
        organization = organizations_of(request.user).filter(name=name).first()
        if organization is None:
            raise ValidationError({"organizations": f"You belong to no organization called {name!r}."})
        if not may_limit(request.user, organization):
            raise PermissionDenied(f"Only its admins set the limit of {name}.")
        own.append((organization, limit))
    return own


class Process(APIView):
    """A pass, without waiting for the tick."""

    @extend_schema(request=None, responses=AskedShape)
    def post(self, request: Request) -> Response:
        if not manages_anything(request.user):
            raise PermissionDenied("Only leads and admins ask for a pass.")
        passes.request_pass()
        return Response({"success": True, "message": "A queue pass was asked for."})


class Cleanup(APIView):
    """Finished entries that are old go; their jobs and their history stay."""

    @extend_schema(request=None, parameters=[CleanupQuery], responses=CleanedShape)
    def post(self, request: Request) -> Response:
        query = CleanupQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        if not manages_anything(request.user):
            raise PermissionDenied("Only leads and admins clean up.")
        entries = QueueEntry.objects.all()
        if not is_superuser(request.user):
            entries = entries.filter(organization__in=organizations_of(request.user, MANAGERS))
        return Response({"success": True, "deleted": clean_up(entries, query.validated_data["days"])})


class SetPaused(APIView):
    """Stop starting jobs, or go on."""

    paused = False

    @extend_schema(request=None, responses=LimitsShape)
    def post(self, request: Request) -> Response:
        if not may_run_queue(request.user):
            raise PermissionDenied("This touches every organization: a superuser does it.")
        operations.set_paused(self.paused, ChangedBy(Actor.of(request.user), Source.API))
        return Response(as_data(queue_state()))
