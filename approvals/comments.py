"""Comments on a pending request, which decide nothing. They are lines of the job's history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User
from django.utils import timezone

from approvals.models import ApprovalRequest
from approvals.queries import concerns
from approvals.statuses import RequestStatus
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor, Change
from jobs.models import JobEvent, record_in_history
from jobs.permissions import AnyUser, teams_of

#: The subject of their lines in the history.
SUBJECT = "comment"
NOT_THEIRS = "Only the requester, reviewers, leads and admins can comment on a request."


def comment(request: ApprovalRequest, text: str, *, user: User, source: str) -> bool:
    """Put a comment into the history of the job, and publish it. False: the request is decided."""
    status = RequestStatus.PENDING
    with unit_of_work():
        open_request = ApprovalRequest.objects.select_for_update().filter(pk=request.pk, status=status)
        if not open_request.values_list("pk", flat=True):
            return False
        change = Change(SUBJECT, status, status, Actor.of(user), source, text, get_correlation_id(), timezone.now())
        record_in_history(request.job, change)
        request.publish(change, f"{user.username} commented on {request.job.config_name}: {beginning(text)}")
    return True


def may_comment(user: AnyUser, request: ApprovalRequest) -> bool:
    return ApprovalRequest.objects.filter(concerns(user, teams_of(user)), pk=request.pk).exists()


def comments_of(requests: Sequence[ApprovalRequest]) -> Mapping[int, list[JobEvent]]:
    """Return the comments on each request, by its id, the oldest first, in one query."""
    events = defaultdict(list)
    jobs = {request.job_id for request in requests}
    for event in JobEvent.objects.filter(job__in=jobs, subject=SUBJECT).order_by("id") if jobs else ():
        events[event.job_id].append(event)
    return {request.pk: [event for event in events[request.job_id] if _is_on(request, event)] for request in requests}


def _is_on(request: ApprovalRequest, event: JobEvent) -> bool:
    """Whether the comment was made while this request was pending: a job may have had several."""
    return request.requested_at <= event.at and (request.reviewed_at is None or event.at <= request.reviewed_at)
