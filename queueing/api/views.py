"""The queue over HTTP: parse, authorise, call one verb, render."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source
from jobs.api.serializers import DoneShape, as_utc
from jobs.models import Job
from jobs.permissions import AnyUser, can_manage
from jobs.queries import find_job
from queueing import claims, operations
from queueing.api.serializers import (
    MyQueueShape,
    PositionShape,
    PriorityBody,
    QueueQuery,
    QueueShape,
    ReasonBody,
    StatisticsShape,
)
from queueing.models import LARGE, QueueEntry, QueueEntryQuerySet
from queueing.operations import ChangedBy
from queueing.statistics import entries_seen_by, statistics
from queueing.statuses import HOLDS_SLOT, LIVE, WAITING
from queueing.waiting.estimates import WaitEstimates
from queueing.waiting.explain import Explainer
from queueing.waiting.order import QueueOrder, queue_in_order
from queueing.waiting.positions import NOT_WAITING, waiting_facts


def visible_entries(user: AnyUser) -> QueueEntryQuerySet:
    """The live entries of jobs that `user` may see, in the order in which they go; those at work first."""
    seen = entries_seen_by(user).live().select_related("job", "user", "organization")
    return queue_in_order(seen.defer(*LARGE))


def represent_entries(entries: Sequence[QueueEntry], viewer: AnyUser) -> list[dict[str, Any]]:
    """Entries as the API shows them."""
    told = waiting_facts([entry for entry in entries if entry.status in WAITING], viewer)
    return [
        {
            "job_id": entry.job_id,
            "config_name": entry.job.config_name,
            "status": entry.status,
            "priority": entry.effective_priority,
            "position": told.get(entry.pk, NOT_WAITING)["queue_position"],
            "waiting_reason": told.get(entry.pk, NOT_WAITING)["waiting_reason"],
            "estimated_wait_seconds": told.get(entry.pk, NOT_WAITING)["estimated_wait_seconds"],
            "unconfirmed": entry.unconfirmed_at is not None,
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
        shown = represent_entries(list(entries[: query.validated_data["limit"]]), request.user)
        depth = entries.filter(status__in=WAITING).count()
        running = entries.filter(status__in=HOLDS_SLOT).count()
        return Response({"entries": shown, "depth": depth, "running": running})


class MyQueue(APIView):
    """The asker's own entries."""

    @extend_schema(responses=MyQueueShape)
    def get(self, request: Request) -> Response:
        entries = visible_entries(request.user).filter(user=current_user(request))
        return Response({"entries": represent_entries(list(entries), request.user)})


class QueuePosition(APIView):
    """Where one job stands."""

    @extend_schema(responses=PositionShape)
    def get(self, request: Request, job_id: str) -> Response:
        entry = _entry_of(find_job(request.user, job_id).pk)
        explainer = Explainer(request.user, [entry])
        is_waiting = entry.status in WAITING
        line = QueueOrder(explainer.limits, explainer.usage, explainer.now)
        wait = WaitEstimates(explainer, line, [entry]).of(entry) if is_waiting else None
        answer = {
            "job_id": entry.job_id,
            "status": entry.status,
            "position": line.positions([entry.pk]).get(entry.pk),
            "waiting_reason": explainer.reason(entry) if is_waiting else None,
            "blockers": [found.as_data() for found in explainer.explain(entry)] if is_waiting else [],
            "estimated_wait_seconds": wait and wait.likely,
            "estimated_wait_range": wait and {"low": wait.low, "high": wait.high},
        }
        return Response(answer)


class Statistics(APIView):
    """The queue in numbers."""

    @extend_schema(responses=StatisticsShape)
    def get(self, request: Request) -> Response:
        return Response(statistics(request.user))


def _entry_of(job_id: str) -> QueueEntry:
    entries = QueueEntry.objects.filter(job_id=job_id).select_related("job", "user", "organization")
    entry = entries.order_by("id").last()
    if entry is None:
        raise Http404
    return entry


def _managed_job(request: Request, job_id: str) -> Job:
    """The job, for one who leads its organization. Raises Http404 or PermissionDenied for anybody else."""
    job = find_job(request.user, job_id)
    if not can_manage(request.user, job.organization_id):
        raise PermissionDenied("Only leads and admins of the organization may do this to its jobs.")
    return job


class SetPriority(APIView):
    """Put a waiting entry further up or down."""

    @extend_schema(request=PriorityBody, responses=DoneShape)
    def post(self, request: Request, job_id: str) -> Response:
        job = _managed_job(request, job_id)
        body = PriorityBody(data=request.data)
        body.is_valid(raise_exception=True)
        entry = _entry_of(job.pk)
        wanted = body.validated_data
        if entry.status not in LIVE or not claims.set_priority(
            entry, wanted["priority"], actor=Actor.of(request.user), source=Source.API, reason=wanted["reason"]
        ):
            raise Conflict("The job has left the queue.")
        return Response({"success": True, "job_id": job.pk, "status": entry.status})


class SettleUnconfirmed(APIView):
    """Decide about a job of which nobody knows whether its provider has it."""

    verb: Callable[[QueueEntry, ChangedBy], bool]

    @extend_schema(request=ReasonBody, responses=DoneShape)
    def post(self, request: Request, job_id: str) -> Response:
        job = _managed_job(request, job_id)
        body = ReasonBody(data=request.data)
        body.is_valid(raise_exception=True)
        entry = _entry_of(job.pk)
        by = ChangedBy(Actor.of(request.user), Source.API, body.validated_data["reason"])
        if not type(self).verb(entry, by):
            raise Conflict("The job is not, or no longer, unconfirmed: the search for it decides by itself.")
        job.refresh_from_db()
        return Response({"success": True, "job_id": job.pk, "status": job.status})


class Resubmit(SettleUnconfirmed):
    """The provider does not have the job: it takes its turn once more."""

    verb = staticmethod(operations.resubmit)


class GiveUp(SettleUnconfirmed):
    """The job is not to run: it ends, and its slot is free."""

    verb = staticmethod(operations.end_unconfirmed)
