"""What every page of the admin says about the approvals."""

from __future__ import annotations

from typing import Any

from django import template

from approvals.queries import pending_for

register = template.Library()


@register.simple_tag(takes_context=True)
def pending_approvals(context: dict[str, Any]) -> int:
    """How many requests wait for the user of the page; 0 for who decides about none."""
    request = context.get("request")
    if request is None or not context.get("has_permission") or not request.user.is_authenticated:
        return 0
    return pending_for(request.user).count()
