"""The queue over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.api import asker
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source
from jobs.access import AnyUser, can_manage, is_superuser, organizations_of
from jobs.queries import find_job
from jobs.representation import as_utc
from jobs.serializers import DoneShape
from queueing import claims
from queueing.explain import waiting_reasons
from queueing.limits import queue_state
from queueing.models import QueueEntry, QueueEntryQuerySet
from queueing.places import positions
from queueing.serializers import LimitsShape, MyQueueShape, PositionShape, PriorityBody, QueueQuery, QueueShape
from queueing.statuses import HOLDS_SLOT, LIVE, WAITING


def visible_entries(user: AnyUser) -> QueueEntryQuerySet:
    """The live entries of jobs that `user` may see, in the order in which they go; those at work first."""
    entries = QueueEntry.objects.live().select_related("job", "user", "organization")
    if not is_superuser(user):
        entries = entries.filter(organization__in=organizations_of(user))
    return entries.in_order()


def represent_entries(entries: Sequence[QueueEntry]) -> list[dict[str, Any]]:
    """Entries as the API shows them."""
    waiting = [entry for entry in entries if entry.status in WAITING]
    places = positions([entry.pk for entry in waiting])
    reasons = waiting_reasons(waiting)
    return [
        {
            "job_id": entry.job_id,
            "config_name": entry.job.config_name,
            "status": entry.status,
            "priority": entry.effective_priority,
            "position": places.get(entry.pk),
            "waiting_reason": reasons.get(entry.pk),
            "submitted_by": entry.user.get_username() if entry.user else None,
            "organization": entry.organization.name if entry.organization else None,
            "provider": entry.provider,
            "attempts": entry.attempts,
            "last_error": entry.last_error or None,
            "enqueued_at": as_utc(entry.enqueued_at),
            "dispatched_at": as_utc(entry.dispatched_at),
        }
        for entry in entries
    ]


class QueueList(APIView):
    """What runs and what waits."""

    @extend_schema(parameters=[QueueQuery], responses=QueueShape)
    def get(self, request: Request) -> Response:
        query = QueueQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        entries = visible_entries(request.user)
        if query.validated_data["status"]:
            entries = entries.filter(status__in=query.validated_data["status"])
        shown = represent_entries(list(entries[: query.validated_data["limit"]]))
        depth = entries.filter(status__in=WAITING).count()
        running = entries.filter(status__in=HOLDS_SLOT).count()
        return Response({"entries": shown, "depth": depth, "running": running})


class MyQueue(APIView):
    """The asker's own entries."""

    @extend_schema(responses=MyQueueShape)
    def get(self, request: Request) -> Response:
        entries = visible_entries(request.user).filter(user=asker(request))
        return Response({"entries": represent_entries(list(entries))})


class QueuePosition(APIView):
    """Where one job stands."""

    @extend_schema(responses=PositionShape)
    def get(self, request: Request, job_id: str) -> Response:
        entry = _entry_of(find_job(request.user, job_id).pk)
        told = represent_entries([entry])[0]
        keys = ("job_id", "status", "position", "waiting_reason")
        return Response({**{key: told[key] for key in keys}, "estimated_wait_seconds": None})


def _entry_of(job_id: str) -> QueueEntry:
    entries = QueueEntry.objects.filter(job_id=job_id).select_related("job", "user", "organization")
    entry = entries.order_by("id").last()
    if entry is None:
        raise Http404
    return entry


class SetPriority(APIView):
    """Put a waiting entry further up or down."""

    @extend_schema(request=PriorityBody, responses=DoneShape)
    def post(self, request: Request, job_id: str) -> Response:
        job = find_job(request.user, job_id)
        if not can_manage(request.user, job.organization_id):
            raise PermissionDenied("Only leads and admins of the organization change priorities.")
        body = PriorityBody(data=request.data)
        body.is_valid(raise_exception=True)
        entry = _entry_of(job.pk)
        wanted = body.validated_data
        if entry.status not in LIVE or not claims.set_priority(
            entry, wanted["priority"], actor=Actor.of(request.user), source=Source.API, reason=wanted["reason"]
        ):
            raise Conflict("The job has left the queue.")
        return Response({"success": True, "job_id": job.pk, "status": entry.status})


class Concurrency(APIView):
    """The limits in force."""

    @extend_schema(responses=LimitsShape)
    def get(self, request: Request) -> Response:
        return Response(LimitsShape(queue_state()).data)
