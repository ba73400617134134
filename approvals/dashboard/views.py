"""The approvals page: requests that wait for the reader's decision, their own requests, and the last decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from approvals.admin.request_page import change_lines
from approvals.dashboard.job_panel import CHIPS, requirement_items
from approvals.models import ApprovalRequest
from approvals.queries import admin_address, changes_of, managed_or_reviewed_by, visible_requests
from approvals.raises import proposed_up_to
from approvals.reviewers import decidable_by, reviewer_objections
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import as_utc
from jobs.dashboard.navigation import live_page
from jobs.dashboard.rows import OWN_HARDWARE, expected_cost
from jobs.permissions import AnyUser, Team, is_superuser, organizations_of
from jobs.roles import MANAGERS
from queueing.budgets.outlook import BudgetReader

#: The admin's list has all of them, and a search.
MAX_PENDING_SHOWN = 50
MAX_DECIDED_SHOWN = 20
#: Every database takes a number of this many digits for an id.
MAX_ID_DIGITS = 18
#: The events after which the page may differ, for `data-live`. A request that is taken back ends its job.
EVENTS = "approval_requested approval_approved approval_rejected approval_expired job_status_changed:cancelled"


def count_to_decide(user: AnyUser, teams: Sequence[Team]) -> int:
    """Return how many requests wait for a decision of the user, who is in `teams`."""
    # Each page shows this count, so it must read no job. A job with a pending request can't have been deleted.
    waiting = ApprovalRequest.objects.filter(
        decidable_by(user, teams), status=RequestStatus.PENDING, expires_at__gt=timezone.now()
    )
    return waiting.exclude(decisions__user=user.pk).count()


def _approvals(request: HttpRequest) -> dict[str, Any]:
    user, linked_id = request.user, _linked_id(request)
    requests = visible_requests(user).select_related("job", "requested_by", "organization")
    listed = requests if is_superuser(user) else requests.filter(managed_or_reviewed_by(user) | Q(requested_by=user.pk))
    linked = list(listed.filter(pk=linked_id).prefetch_related("decisions")) if linked_id else []
    # The ids are found first: with their related rows joined, all requests would be sorted.
    pending = listed.filter(status=RequestStatus.PENDING).order_by("expires_at", "pk")
    first = list(pending.values_list("pk", flat=True)[: MAX_PENDING_SHOWN + 1])
    first_pending = pending.filter(pk__in=first[:MAX_PENDING_SHOWN])
    shown = _include_linked(linked, first_pending.prefetch_related("decisions"), is_pending=True)
    decided = listed.filter(reviewed_at__isnull=False).order_by("-reviewed_at", "-pk")
    last = list(decided.values_list("pk", flat=True)[:MAX_DECIDED_SHOWN])
    last_decided = requests.filter(pk__in=last).order_by("-reviewed_at", "-pk").defer("job__config", "terms")
    managed = set(organizations_of(user, MANAGERS).values_list("pk", flat=True))
    return {
        "pending": _pending_items(shown, user, managed),
        "has_more": len(first) > MAX_PENDING_SHOWN,
        "decided": [_decided_item(item) for item in _include_linked(linked, last_decided, is_pending=False)],
        "is_full": len(last) == MAX_DECIDED_SHOWN,
        "is_missing": bool(linked_id) and not linked,
        "manages": bool(managed) or is_superuser(user),
        "events": EVENTS,
    }


def _linked_id(request: HttpRequest) -> int:
    """Return the id of the request that the address names; 0 when it names none."""
    value = request.GET.get("request", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= MAX_ID_DIGITS else 0


def _include_linked(
    linked: list[ApprovalRequest], requests: Iterable[ApprovalRequest], *, is_pending: bool
) -> list[ApprovalRequest]:
    """Return the pending or decided requests to show, with the linked one, however far down it is."""
    shown = list(requests)
    numbers = {request.pk for request in shown}
    of_kind = [request for request in linked if (request.status == RequestStatus.PENDING) == is_pending]
    return shown + [request for request in of_kind if request.pk not in numbers]


def _pending_items(requests: Sequence[ApprovalRequest], user: AnyUser, managed: set[int]) -> list[dict[str, Any]]:
    """Return the items of pending requests. The number of queries doesn't depend on theirs."""
    objections, changes = reviewer_objections(user, requests), changes_of(requests)
    rejecting = reviewer_objections(user, requests, Verdict.REJECT)
    superuser, now, budgets = is_superuser(user), timezone.now(), BudgetReader(user)
    items = []
    for request in requests:
        objection = objections[request.pk]
        decisions = list(request.decisions.all())
        own = next((decision for decision in decisions if decision.user_id == user.pk), None)
        items.append(
            {
                **_item(request),
                "rules": requirement_items(request),
                "proposed": proposed_up_to(request),
                "expires_at": as_utc(request.expires_at),
                "is_due": request.expires_at <= now,
                "budget": budgets.of_job(request.job),
                "changes": change_lines(changes[request.pk]),
                "decisions": [{"decision": decision, "at": as_utc(decision.at)} for decision in decisions],
                "objection": None if superuser else objection,
                "may_reject": superuser or rejecting[request.pk] is None,
                "bypasses": superuser and objection is not None,
                "has_decided": own is not None,
                "is_own": request.requested_by_id == user.pk,
                "admin": admin_address(request) if superuser or request.organization_id in managed else "",
            }
        )
    return items


def _decided_item(request: ApprovalRequest) -> dict[str, Any]:
    return {**_item(request), "reviewed_at": as_utc(request.reviewed_at)}


def _item(request: ApprovalRequest) -> dict[str, Any]:
    kind, label = CHIPS[RequestStatus(request.status)]
    is_free = request.job.estimated_cost_usd == 0
    return {
        "request": request,
        "job": request.job,
        "kind": kind,
        "label": label,
        "cost": OWN_HARDWARE if is_free else expected_cost(request.job),
        "is_free": is_free,
        "requested_at": as_utc(request.requested_at),
    }


approvals_page, approvals_now = live_page("approvals/approvals.html", "approvals/_approvals.html", _approvals)
