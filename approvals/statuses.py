"""What an approval request's status can be, what each means, and which moves there are."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models


class RequestStatus(models.TextChoices):
    """How far the decision about a held job has come."""

    #: Waits for a reviewer.
    PENDING = "pending"
    #: The reviewers let the job go. Final, unless the job is no longer what they approved.
    APPROVED = "approved"
    #: A reviewer refused it. Final.
    REJECTED = "rejected"
    #: Nobody decided before its deadline. Final.
    EXPIRED = "expired"
    #: The requester took it back, the job ended before a decision, or what was approved has changed since. Final.
    CANCELLED = "cancelled"


DECIDED = (RequestStatus.APPROVED, RequestStatus.REJECTED, RequestStatus.EXPIRED, RequestStatus.CANCELLED)

ALLOWED: Mapping[str, frozenset[str]] = {
    RequestStatus.PENDING: frozenset(DECIDED),
    **{status: frozenset[str]() for status in DECIDED},
    # Void: the dispatcher found another job than the one that was approved.
    RequestStatus.APPROVED: frozenset((RequestStatus.CANCELLED,)),
}


class Verdict(models.TextChoices):
    """What one person says about a request."""

    APPROVE = "approve"
    REJECT = "reject"
