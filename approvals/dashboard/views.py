"""The approvals page: requests that wait for the reader's decision, their own requests, and the last decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from approvals.admin.bulk import cost_of
from approvals.admin.request_page import change_lines, no_changes_text
from approvals.dashboard.filters import Filters, choices_for, decidable_now
from approvals.dashboard.job_panel import CHIPS, requirement_items
from approvals.dashboard.request_acts import acts_of
from approvals.dashboard.several_views import is_id
from approvals.models import ApprovalRequest
from approvals.queries import admin_address, changes_of, concerning_in, concerns, visible_requests
from approvals.reviewers import decides_anywhere
from approvals.statuses import RequestStatus
from cloudtrain_site.api import as_utc, current_user
from jobs.costs.texts import OWN_HARDWARE, expected_cost
from jobs.dashboard.navigation import live_page
from jobs.models import ProviderConfig
from jobs.permissions import AnyUser, Team, is_superuser, own_teams
from jobs.providers import label_of, place_of
from jobs.roles import MANAGERS
from queueing.budgets.outlook import BudgetReader

#: The admin's list has all of them, and a search.
MAX_PENDING_SHOWN = 50
MAX_DECIDED_SHOWN = 20
#: With more, what each decided last is not read one by one.
MOST_TEAMS = 8
#: The page shows these columns of a request and its job, or computes from them. All others took a fifth of it.
SHOWN = (
    *("job", "organization__name", "requested_by__username", "status", "reason", "requested_at", "expires_at"),
    *("reviewed_by", "reviewed_at", "review_notes", "up_to_usd", "raise_to_usd", "bypassed"),
    *("job__organization", "job__submitted_by", "job__number", "job__config_name", "job__config", "job__status"),
    *("job__provider", "job__hardware_profile", "job__dataloader_config", "job__estimate_source", "job__cost_usd"),
    *("job__estimated_cost_usd", "job__estimated_cost_low_usd", "job__max_cost_usd"),
)
#: The events after which the page may differ, for `data-live`. A request that is taken back ends its job.
EVENTS = "approval_requested approval_approved approval_rejected approval_expired job_status_changed:cancelled"


def count_to_decide(user: AnyUser, teams: Sequence[Team]) -> int:
    """Return how many requests wait for a decision of the user, who is in `teams`."""
    # Each page shows this count, so it must read no job. A job with a pending request can't have been deleted.
    waiting = ApprovalRequest.objects.filter(status=RequestStatus.PENDING, expires_at__gt=timezone.now())
    return waiting.filter(decidable_now(user, teams)).count()


def _approvals(request: HttpRequest) -> dict[str, Any]:
    user, linked_id, filters = request.user, _linked_id(request), Filters.of(request.GET)
    teams = own_teams(request)
    requests = visible_requests(user, teams).select_related("job", "requested_by", "organization").only(*SHOWN)
    listed = requests.filter(concerns(user, teams))
    linked = list(listed.filter(pk=linked_id).prefetch_related("decisions")) if linked_id else []
    chosen = listed.filter(filters.condition())
    # The ids are found first: with their related rows joined, all requests would be sorted.
    pending = chosen.filter(status=RequestStatus.PENDING).order_by("expires_at", "pk")
    pending = pending.filter(decidable_now(user, teams)) if filters.mine else pending
    first = list(pending.values_list("pk", flat=True)[: MAX_PENDING_SHOWN + 1])
    first_pending = requests.filter(pk__in=first[:MAX_PENDING_SHOWN]).order_by("expires_at", "pk")
    shown = _include_linked(linked, first_pending.prefetch_related("decisions"), is_pending=True)
    in_teams = [team for team in teams if filters.organization in ("", team.name)]
    last = requests.filter(pk__in=_last_decided(requests.filter(filters.condition()), user, in_teams))
    last_decided = last.order_by("-reviewed_at", "-pk").defer("job__config", "job__dataloader_config")
    managed = {team.id for team in teams if team.role in MANAGERS}
    manages = bool(managed) or is_superuser(user)
    items = _pending_items(shown, user, managed)
    return {
        "pending": items,
        "may_tick": sum(item["may_approve"] or item["may_reject"] for item in items) > 1,
        "has_more": len(first) > MAX_PENDING_SHOWN,
        "decided": [_item(request) for request in _include_linked(linked, last_decided, is_pending=False)],
        "is_full": len(last_decided) == MAX_DECIDED_SHOWN,
        "is_missing": bool(linked_id) and not linked,
        "manages": manages,
        "decides": manages or partial(decides_anywhere, current_user(request)),
        "events": EVENTS,
        "filters": filters,
        # Called by the page alone: its part that is fetched again has no form.
        "choices": partial(choices_for, user, teams, filters),
    }


def _last_decided(requests: QuerySet[ApprovalRequest], user: AnyUser, teams: Sequence[Team]) -> list[int]:
    """Return the ids of the last decided of `requests` that concern the user, who is in `teams`, or sees all."""
    decided = requests.filter(reviewed_at__isnull=False).order_by("-reviewed_at", "-pk")
    # An index has those of one organization in order; those of several at once SQLite would all sort.
    if is_superuser(user) or len(teams) > MOST_TEAMS:
        parts = [decided.filter(concerns(user, teams))]
    else:
        parts = [part for team in teams for part in concerning_in(team, decided, user)]
    found = {row for part in parts for row in part.values_list("reviewed_at", "pk")[:MAX_DECIDED_SHOWN]}
    return [pk for _, pk in sorted(found, reverse=True)[:MAX_DECIDED_SHOWN]]


def _linked_id(request: HttpRequest) -> int:
    """Return the id of the request that the address names; 0 when it names none."""
    value = request.GET.get("request", "")
    return int(value) if is_id(value) else 0


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
    changes, acts, budgets = changes_of(requests), acts_of(requests, user), BudgetReader(user)
    superuser, config_of = is_superuser(user), cache(ProviderConfig.of)
    return [
        {
            **_item(request),
            **acts[request.pk],
            "rules": requirement_items(request),
            "adds": cost_of(request, config_of),
            "budget": budgets.of_job(request.job),
            "changes": change_lines(changes[request.pk]),
            "no_changes": no_changes_text(changes[request.pk]),
            "decisions": [{"decision": one, "at": as_utc(one.at)} for one in request.decisions.all()],
            "may_comment": True,
            "admin": admin_address(request) if superuser or request.organization_id in managed else "",
        }
        for request in requests
    ]


def _item(request: ApprovalRequest) -> dict[str, Any]:
    kind, label = CHIPS[RequestStatus(request.status)]
    is_free = request.job.estimated_cost_usd == 0
    return {
        "request": request,
        "job": request.job,
        "address": reverse("job-page", args=[request.job_id]),
        "kind": kind,
        "label": label,
        "runs_on": place_of(label_of(request.job.provider), request.job.hardware_profile),
        "cost": OWN_HARDWARE if is_free else expected_cost(request.job),
        "is_free": is_free,
    }


approvals_page, approvals_now = live_page("approvals/approvals.html", "approvals/_approvals.html", _approvals)
