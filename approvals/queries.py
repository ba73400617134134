"""Finding approval requests for somebody, and what a reviewer wants to know of one."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404

from approvals.models import ApprovalRequest
from approvals.statuses import RequestStatus
from cloudtrain_site.redaction import mask_secrets
from jobs.access import AnyUser, is_superuser, organizations_of


def visible_requests(user: AnyUser) -> QuerySet[ApprovalRequest]:
    """The requests about jobs that `user` may see, newest first."""
    requests = ApprovalRequest.objects.filter(job__deleted_at=None).select_related(
        "job", "requested_by", "reviewer_group"
    )
    if not is_superuser(user):
        requests = requests.filter(organization__in=organizations_of(user))
    return requests.order_by("-id")


def find_request(user: AnyUser, request_id: int) -> ApprovalRequest:
    """The request with that id. Raises Http404 when there is none that `user` may see."""
    request = visible_requests(user).filter(pk=request_id).first()
    if request is None:
        raise Http404
    return request


def config_changes(request: ApprovalRequest) -> dict[str, Any]:
    """What differs from the requester's last approved config: by key, the old and the new value.

    Empty when nothing of theirs was approved before. Secrets are masked.
    """
    earlier = (
        ApprovalRequest.objects.filter(
            status=RequestStatus.APPROVED, requested_by=request.requested_by_id, pk__lt=request.pk
        )
        .order_by("-id")
        .select_related("job")
        .first()
    )
    if earlier is None:
        return {}
    old, new = mask_secrets(earlier.job.config), mask_secrets(request.job.config)
    return {
        key: {"old": old.get(key), "new": new.get(key)}
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }
