"""Tags of the admin's front page about pending approvals."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.health import warning
from approvals.models import ApprovalRequest
from approvals.queries import managed_or_reviewed_by
from jobs.permissions import is_superuser, own_teams

register = template.Library()


@register.simple_tag(takes_context=True)
def pending_approvals(context: dict[str, Any]) -> int:
    """Return how many requests the page's user has to decide; 0 without any."""
    request = context.get("request")
    if request is None or not context.get("has_permission") or not request.user.is_authenticated:
        return 0
    condition = managed_or_reviewed_by(request.user, own_teams(request))
    return ApprovalRequest.objects.filter(condition, is_decided=False).count()


@register.simple_tag(takes_context=True)
def approvals_trouble(context: dict[str, Any]) -> str:
    """Return the health warning for superusers, who can appoint reviewers everywhere; empty for others."""
    request = context.get("request")
    return warning() if request is not None and is_superuser(request.user) else ""
