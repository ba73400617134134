"""Where a request is found by people."""

from __future__ import annotations

from django.urls import reverse

from approvals.models import ApprovalRequest


def address_of(request: ApprovalRequest) -> str:
    """Its place on the page of the approvals, where it is decided; the page finds it wherever it stands."""
    return f"{reverse('approvals-page')}#request-{request.pk}"


def admin_page_of(request: ApprovalRequest) -> str:
    """Its page in the admin."""
    return reverse("admin:approvals_approvalrequest_change", args=[request.pk])
