"""The queue over HTTP. Each view parses, authorises, calls one verb and renders."""

from __future__ import annotations

from collections.abc import Callable

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered, takes
from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.states import Actor
from jobs.api.serializers import ChangedJobSerializer
from jobs.api.views import CancelsJobs
from jobs.models import Job
from jobs.permissions import AnyUser, can_manage
from jobs.queries import find_job
from jobs.sync.waiting import reasons_at_providers
from queueing import claims, operations
from queueing.api.serializers import (
    OwnQueueSerializer,
    PositionSerializer,
    PriorityBody,
    QueueQuery,
    QueueSerializer,
    ReasonBody,
    StatisticsSerializer,
    with_facts,
)
from queueing.models import QueueEntry
from queueing.operations import ChangedBy
from queueing.queries import read_entries, visible_entries
from queueing.statistics import statistics
from queueing.statuses import LIVE, TAKES_SLOT, WAITING
from queueing.waiting.estimates import WaitEstimates
from queueing.waiting.explain import Explainer
from queueing.waiting.order import QueueOrder


class QueueViewSet(CancelsJobs):
    """Live entries of the queue."""

    @extend_schema(responses=QueueSerializer)
    @takes(QueueQuery)
    def list(self, request: Request) -> Response:
        """List running and waiting jobs."""
        entries = visible_entries(request.user)
        if self.query["status"]:
            entries = entries.filter(status__in=self.query["status"])
        [first] = read_entries(entries[: self.query["limit"]])
        shown = with_facts(first, request.user)
        depth = entries.filter(status__in=WAITING).count()
        running = entries.filter(status__in=TAKES_SLOT).count()
        return rendered(QueueSerializer, {"entries": shown, "depth": depth, "running": running})

    @extend_schema(responses=OwnQueueSerializer)
    @action(detail=False)
    def me(self, request: Request) -> Response:
        """List your own entries."""
        entries = visible_entries(request.user).filter(user=current_user(request))
        return rendered(OwnQueueSerializer, {"entries": with_facts(list(entries), request.user)})

    @extend_schema(responses=StatisticsSerializer)
    @action(detail=False)
    def stats(self, request: Request) -> Response:
        """Count running and waiting jobs."""
        return rendered(StatisticsSerializer, statistics(request.user))

    @extend_schema(responses=PositionSerializer)
    @raises(Conflict)
    @action(detail=False, url_path="position/<str:job_id>")
    def position(self, request: Request, job_id: str) -> Response:
        """Show a job's place in the queue and why it waits."""
        job = find_job(request.user, job_id)
        entry = _entry_of(job.pk)
        explainer = Explainer(request.user, [entry])
        is_waiting = entry.status in WAITING
        order = QueueOrder(explainer.limits, explainer.usage, explainer.now)
        answer = {
            "entry": entry,
            "position": order.positions([entry.pk]).get(entry.pk),
            "waiting_reason": explainer.reason(entry) if is_waiting else reasons_at_providers([job]).get(job.pk),
            "blockers": list(explainer.explain(entry)) if is_waiting else [],
            "wait": WaitEstimates(explainer, order, [entry]).of(entry) if is_waiting else None,
        }
        return rendered(PositionSerializer, answer)

    @extend_schema(request=PriorityBody, responses=ChangedJobSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def priority(self, request: Request, job_id: str) -> Response:
        """Move a waiting job further up or down."""
        job = _managed_job(request.user, job_id)
        body = checked(PriorityBody, request.data)
        entry = _entry_of(job.pk)
        if entry.status not in LIVE or not claims.set_priority(
            entry, body["priority"], actor=Actor.of(request.user), source=current_source(), reason=body["reason"]
        ):
            raise Conflict("The job has left the queue.")
        return rendered(ChangedJobSerializer, {"pk": job.pk, "status": entry.status})

    @extend_schema(request=ReasonBody, responses=ChangedJobSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True)
    @needs(Scope.DECIDE)
    def resubmit(self, request: Request, job_id: str) -> Response:
        """Queue an unconfirmed job again.

        For a job that its provider doesn't have, as far as can be seen there.
        """
        return _decide_unconfirmed(request, job_id, operations.resubmit)

    @extend_schema(request=ReasonBody, responses=ChangedJobSerializer)
    @raises(Conflict)
    @action(methods=["post"], detail=True, url_path="give-up")
    @needs(Scope.DECIDE)
    def give_up(self, request: Request, job_id: str) -> Response:
        """End an unconfirmed job, and free its slot."""
        return _decide_unconfirmed(request, job_id, operations.end_unconfirmed)


def _entry_of(job_id: str) -> QueueEntry:
    entries = QueueEntry.objects.filter(job_id=job_id).select_related("job", "user", "organization")
    entry = entries.order_by("id").last()
    if entry is None:
        raise Http404
    return entry


def _managed_job(user: AnyUser, job_id: str) -> Job:
    """Return the job if the user manages its organization. Raises Http404 or PermissionDenied otherwise."""
    job = find_job(user, job_id)
    if not can_manage(user, job.organization_id):
        raise PermissionDenied("Only leads and admins of the organization can do this to its jobs.")
    return job


def _decide_unconfirmed(request: Request, job_id: str, verb: Callable[[QueueEntry, ChangedBy], bool]) -> Response:
    """Apply `verb` to the entry of an unconfirmed job. Raises Conflict for any other job, Http404, PermissionDenied."""
    job = _managed_job(request.user, job_id)
    reason = checked(ReasonBody, request.data)["reason"]
    if not verb(_entry_of(job.pk), ChangedBy(Actor.of(request.user), current_source(), reason)):
        raise Conflict("The job is not unconfirmed.")
    job.refresh_from_db()
    return rendered(ChangedJobSerializer, job)
