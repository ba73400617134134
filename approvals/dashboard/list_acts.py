"""What this room does to several jobs of the list at once: run them again, and approve them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User

from approvals.intake import submit
from approvals.models import ApprovalRequest
from approvals.queries import visible_requests
from approvals.review import BYPASS_REASON_NEEDED, decide
from approvals.reviewers import reviewer_objections
from approvals.statuses import RequestStatus, Verdict
from approvals.submissions import repeat_submission
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Source
from jobs.dashboard.listing.acts import NOT_THEIRS
from jobs.dashboard.rows import make_rows
from jobs.extensions import ListAct, list_acts
from jobs.models import Job
from jobs.permissions import is_superuser


def _retry_objections(jobs: Sequence[Job], user: User) -> Mapping[str, str]:
    only_ended = "Only failed and cancelled jobs can be retried."
    return {row.id: only_ended if row.may_change else NOT_THEIRS for row in make_rows(jobs, user) if not row.may_retry}


def _retry(job: Job, user: User, fields: Mapping[str, str]) -> None:
    key = f"{fields['key']}-{job.pk}" if fields["key"] else ""
    submit(repeat_submission(user, job, source=Source.DASHBOARD, idempotency_key=key))


def _pending(jobs: Sequence[Job], user: User) -> dict[str, ApprovalRequest]:
    requests = visible_requests(user).filter(job__in=[job.pk for job in jobs], status=RequestStatus.PENDING)
    return {request.job_id: request for request in requests}


def _approve_objections(jobs: Sequence[Job], user: User) -> Mapping[str, str]:
    pending = _pending(jobs, user)
    objections = reviewer_objections(user, list(pending.values()))
    found = {}
    for job in jobs:
        request = pending.get(job.pk)
        objection = "The job needs no approval." if request is None else objections[request.pk]
        if objection:
            found[job.pk] = BYPASS_REASON_NEEDED if request is not None and is_superuser(user) else objection
    return found


def _approve(job: Job, user: User, fields: Mapping[str, str]) -> None:
    request = _pending([job], user).get(job.pk)
    if request is None:
        raise Conflict("The job no longer needs approval.")
    answer = decide(request, Verdict.APPROVE, user=user, source=Source.DASHBOARD)
    if not answer.won:
        raise Conflict(answer.detail)


def register_all() -> None:
    retry_text = "Each job is submitted again with the same config and hardware, and costs again."
    approve_text = "They are queued and start when the limits allow."
    list_acts.register(
        "retry",
        ListAct("Retry", "submitted again", _retry_objections, _retry, text=retry_text, is_costly=True),
        order=20,
    )
    list_acts.register(
        "approve",
        ListAct("Approve", "approved", _approve_objections, _approve, text=approve_text, is_costly=True),
        order=30,
    )
