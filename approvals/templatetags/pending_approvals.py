"""What every page of the admin says about the approvals."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.health import warning
from approvals.models import ApprovalRequest
from approvals.queries import managed_or_reviewed_by
from jobs.admin_base import remembered
from jobs.permissions import is_superuser

register = template.Library()


@register.simple_tag(takes_context=True)
def pending_approvals(context: dict[str, Any]) -> int:
    """How many requests wait for the user of the page; 0 for who decides about none."""
    request = context.get("request")
    if request is None or not context.get("has_permission") or not request.user.is_authenticated:
        return 0
    condition = remembered(request, "managed_or_reviewed", lambda: managed_or_reviewed_by(request.user))
    pending = remembered(request, "pending", ApprovalRequest.objects.filter(condition, is_decided=False).count)
    return int(pending)


@register.simple_tag(takes_context=True)
def approvals_trouble(context: dict[str, Any]) -> str:
    """What nobody can decide, for those who can make somebody a reviewer everywhere."""
    request = context.get("request")
    return warning() if request is not None and is_superuser(request.user) else ""
