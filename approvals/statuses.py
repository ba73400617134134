"""The statuses of an approval request, and the changes between them."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models


class RequestStatus(models.TextChoices):
    #: Waits for a reviewer.
    PENDING = "pending"
    #: The reviewers approved. Final, unless the job is no longer what they approved.
    APPROVED = "approved"
    #: A reviewer refused it. Final.
    REJECTED = "rejected"
    #: Nobody decided before its deadline. Final.
    EXPIRED = "expired"
    #: The requester withdrew it, the job ended before a decision, or the approved job has changed since. Final.
    CANCELLED = "cancelled"


CLOSED = (RequestStatus.APPROVED, RequestStatus.REJECTED, RequestStatus.EXPIRED, RequestStatus.CANCELLED)

ALLOWED: Mapping[str, frozenset[str]] = {
    RequestStatus.PENDING: frozenset(CLOSED),
    **{status: frozenset[str]() for status in CLOSED},
    # Void: the dispatcher found another job than the one that was approved.
    RequestStatus.APPROVED: frozenset((RequestStatus.CANCELLED,)),
}


class Verdict(models.TextChoices):
    """A reviewer's answer. The answer of a rule is a `Judgement`."""

    APPROVE = "approve"
    REJECT = "reject"
