"""What an event says of a request. Pure."""

from __future__ import annotations

from decimal import Decimal

from approvals.statuses import RequestStatus
from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.states import Change


def message_of(name: str, reason: str, raise_to: Decimal | None, change: Change) -> str:
    """Return what happened to the request about the job `name`, in one sentence; `raise_to`: of a running job."""
    asks = f"{name} needs approval" if raise_to is None else f"{name} requests ${raise_to:.2f}"
    is_partial = change.new == RequestStatus.PENDING and change.old == change.new
    if is_partial:
        waits = f"{name} still needs approval" if raise_to is None else asks
        return f"{waits}; {change.actor.name} approved: {beginning(change.reason)}"
    if change.new == RequestStatus.PENDING:
        return f"{asks}: {beginning(reason)}"
    if change.new == RequestStatus.EXPIRED:
        subject = name if raise_to is None else f"{name} for ${raise_to:.2f}"
        return f"The approval request for {subject} expired without a decision."
    notes = f": {beginning(change.reason)}" if change.reason else ""
    if raise_to is None:
        return f"{name} was {change.new} by {change.actor.name}{notes}"
    return f"{name} requested ${raise_to:.2f}: {change.new} by {change.actor.name}{notes}"
