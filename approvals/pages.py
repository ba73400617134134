"""The approvals as people see them: what waits for the reader's decision, their own requests, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from approvals.desk_page import change_lines, rule_in_words
from approvals.job_panel import CHIPS
from approvals.models import ApprovalRequest
from approvals.queries import changes_of, on_desk_of, visible_requests
from approvals.reviewers import decidable_by, objections_of
from approvals.statuses import RequestStatus
from jobs.access import AnyUser, is_superuser, organizations_of
from jobs.page_rows import money
from jobs.places import frame
from jobs.representation import as_utc
from jobs.roles import MANAGERS

#: Nobody decides more without a search: the admin's list has all of them.
PENDING_SHOWN = 50
DECIDED_SHOWN = 20
#: What can change who waits for whom, for `data-live`. A request that is taken back ends its job, which is told.
EVENTS = "approval_requested approval_approved approval_rejected approval_expired job_status_changed:cancelled"


@never_cache
@login_required
@require_safe
def approvals_page(request: HttpRequest) -> HttpResponse:
    """The whole page."""
    around = frame(request)  # before the requests are read: whatever happens from here on, the stream brings
    return render(request, "approvals/approvals.html", {**around, **_approvals(request.user)})


@never_cache
@require_safe
def approvals_now(request: HttpRequest) -> HttpResponse:
    """What of it changes, as it is now."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    return render(request, "approvals/_approvals.html", _approvals(request.user))


def count_to_decide(user: AnyUser) -> int:
    """How many requests wait for this very user."""
    return pending_for(user).count()


def pending_for(user: AnyUser) -> QuerySet[ApprovalRequest]:
    """The requests that `user` may decide now, the most urgent first."""
    # A job whose request is pending can't have been deleted. This is asked for every page: it must read no job.
    waiting = ApprovalRequest.objects.filter(
        decidable_by(user), status=RequestStatus.PENDING, expires_at__gt=timezone.now()
    )
    return waiting.exclude(decisions__user=user.pk).order_by("expires_at", "pk")


def _approvals(user: AnyUser) -> dict[str, Any]:
    requests = visible_requests(user).select_related("job", "requested_by", "reviewer_group", "rule", "organization")
    theirs = requests if is_superuser(user) else requests.filter(on_desk_of(user) | Q(requested_by=user.pk))
    pending = theirs.filter(status=RequestStatus.PENDING).order_by("expires_at", "pk")
    open_requests = list(pending.prefetch_related("decisions")[: PENDING_SHOWN + 1])
    # Found first and read then: with what belongs to them, all that were ever decided would be put in order.
    decided = theirs.filter(reviewed_at__isnull=False).order_by("-reviewed_at", "-pk")
    last = list(decided.values_list("pk", flat=True)[:DECIDED_SHOWN])
    last_decided = requests.filter(pk__in=last).order_by("-reviewed_at", "-pk").defer("job__config", "terms")
    managed = set(organizations_of(user, MANAGERS).values_list("pk", flat=True))
    return {
        "pending": _pending_items(open_requests[:PENDING_SHOWN], user, managed),
        "has_more": len(open_requests) > PENDING_SHOWN,
        "decided": [_decided_item(request) for request in last_decided],
        "manages": bool(managed) or is_superuser(user),
        "events": EVENTS,
    }


def _pending_items(requests: Sequence[ApprovalRequest], user: AnyUser, managed: set[int]) -> list[dict[str, Any]]:
    """The number of queries doesn't depend on how many there are."""
    objections, changes = objections_of(user, requests), changes_of(requests)
    superuser, now = is_superuser(user), timezone.now()
    items = []
    for request in requests:
        objection = objections[request.pk]
        said = list(request.decisions.all())
        own = next((decision for decision in said if decision.user_id == user.pk), None)
        items.append(
            {
                **_item(request),
                "rule": rule_in_words(request),
                "expires_at": as_utc(request.expires_at),
                "is_due": request.expires_at <= now,
                "changes": change_lines(changes[request.pk]),
                "said": [{"decision": decision, "at": as_utc(decision.at)} for decision in said],
                "objection": None if superuser else objection,
                "goes_past": superuser and objection is not None,
                "has_said": own is not None,
                "is_own": request.requested_by_id == user.pk,
                "admin": _admin_page(request) if superuser or request.organization_id in managed else "",
            }
        )
    return items


def _decided_item(request: ApprovalRequest) -> dict[str, Any]:
    return {**_item(request), "reviewed_at": as_utc(request.reviewed_at)}


def _item(request: ApprovalRequest) -> dict[str, Any]:
    kind, label = CHIPS[RequestStatus(request.status)]
    cost = request.job.estimated_cost_usd
    return {
        "request": request,
        "job": request.job,
        "kind": kind,
        "label": label,
        "cost": "" if cost is None else money(cost),
        "requested_at": as_utc(request.requested_at),
    }


def _admin_page(request: ApprovalRequest) -> str:
    return reverse("admin:approvals_approvalrequest_change", args=[request.pk])
