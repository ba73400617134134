"""Control of the queue over HTTP: limits, pause, passes, clean-up."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, rendered, takes
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.models import Scope
from cloudtrain_site.states import Actor
from cloudtrain_site.strict_views import StrictViewSet
from jobs.models import Organization
from jobs.permissions import AnyUser, is_superuser, manages_anything, organizations_of
from jobs.roles import MANAGERS
from queueing import operations, passes
from queueing.api.serializers import (
    CleanedSerializer,
    CleanupQuery,
    LimitsBody,
    LimitsSerializer,
    RequestedPassSerializer,
)
from queueing.limits import queue_state
from queueing.models import QueueEntry
from queueing.operations import GENERAL, ChangedBy, LimitError, clean_up, may_limit, may_run_queue


class QueueControlViewSet(StrictViewSet):
    """The controls of the whole queue."""

    @extend_schema(responses=LimitsSerializer)
    @action(detail=False)
    def concurrency(self, request: Request) -> Response:
        """Show the limits in force."""
        return rendered(LimitsSerializer, queue_state())

    @extend_schema(request=LimitsBody, responses=LimitsSerializer)
    @concurrency.mapping.post
    @needs(Scope.ADMINISTER)
    def set_concurrency(self, request: Request) -> Response:
        """Change limits."""
        body = checked(LimitsBody, request.data)
        by = ChangedBy(Actor.of(request.user), current_source(), body["reason"])
        general = {name: body[name] for name in GENERAL if name in body}
        if (general or body.get("providers")) and not may_run_queue(request.user):
            raise PermissionDenied("Only a superuser can change these limits: they affect every organization.")
        own = _own_limits(request.user, body.get("organizations", {}))
        try:
            with unit_of_work():
                operations.set_general(general, by)
                for name, limits in body.get("providers", {}).items():
                    operations.set_provider(name, limits, by)
                for organization, limit in own:
                    operations.set_organization(organization, limit, by, may_exceed=is_superuser(request.user))
        except LimitError as error:
            raise ValidationError({"non_field_errors": [str(error)]}) from error
        return rendered(LimitsSerializer, queue_state())

    @extend_schema(request=None, responses=RequestedPassSerializer)
    @action(methods=["post"], detail=False)
    @needs(Scope.DECIDE)
    def process(self, request: Request) -> Response:
        """Start eligible jobs now."""
        if not manages_anything(request.user):
            raise PermissionDenied("Only leads and admins can start eligible jobs.")
        passes.request_pass()
        return rendered(RequestedPassSerializer, {"message": "Eligible jobs start in a moment."})

    @extend_schema(request=None, responses=CleanedSerializer)
    @action(methods=["post"], detail=False)
    @needs(Scope.ADMINISTER)
    @takes(CleanupQuery)
    def cleanup(self, request: Request) -> Response:
        """Remove old finished entries.

        Their jobs and their history stay.
        """
        if not manages_anything(request.user):
            raise PermissionDenied("Only leads and admins can clean up the queue.")
        entries = QueueEntry.objects.all()
        if not is_superuser(request.user):
            entries = entries.filter(organization__in=organizations_of(request.user, MANAGERS))
        return rendered(CleanedSerializer, {"deleted": clean_up(entries, self.query["days"])})

    @extend_schema(request=None, responses=LimitsSerializer)
    @action(methods=["post"], detail=False)
    @needs(Scope.ADMINISTER)
    def pause(self, request: Request) -> Response:
        """Pause the queue: start no more jobs."""
        return _set_paused(request.user, True)

    @extend_schema(request=None, responses=LimitsSerializer)
    @action(methods=["post"], detail=False)
    @needs(Scope.ADMINISTER)
    def resume(self, request: Request) -> Response:
        """Resume the queue."""
        return _set_paused(request.user, False)


def _own_limits(user: AnyUser, limits: dict[str, Any]) -> list[tuple[Organization, int | None]]:
    """Return organizations and new limits. Raises ValidationError or PermissionDenied when `user` may not set one."""
    own = []
    for name, limit in limits.items():
        organization = organizations_of(user).filter(name=name).first()
        if organization is None:
            raise ValidationError({"organizations": f"You belong to no organization called “{name}”."})
        if not may_limit(user, organization):
            raise PermissionDenied(f"Only the admins of {name} can set its limit.")
        own.append((organization, limit))
    return own


def _set_paused(user: AnyUser, paused: bool) -> Response:
    if not may_run_queue(user):
        raise PermissionDenied("Only a superuser can do this: it affects every organization.")
    operations.set_paused(paused, ChangedBy(Actor.of(user), current_source()))
    return rendered(LimitsSerializer, queue_state())
