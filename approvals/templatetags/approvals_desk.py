"""What every page of the admin says about the approvals."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.models import ApprovalRequest
from approvals.queries import on_desk_of
from approvals.remembering import remembered
from approvals.statuses import RequestStatus

register = template.Library()


@register.simple_tag(takes_context=True)
def pending_approvals(context: dict[str, Any]) -> int:
    """How many requests wait for the user of the page; 0 for who decides about none."""
    request = context.get("request")
    if request is None or not context.get("has_permission") or not request.user.is_authenticated:
        return 0
    theirs = remembered(request, "desk", lambda: on_desk_of(request.user))
    pending = remembered(request, "pending", ApprovalRequest.objects.filter(theirs, status=RequestStatus.PENDING).count)
    return int(pending)
