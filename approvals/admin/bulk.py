"""The page that decides about several requests: each cost, their sum, and what has changed since it was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django import forms
from django.utils import timezone

from approvals.admin.request_page import AMOUNT, change_lines, limit_of
from approvals.approved_terms import digest_of_terms
from approvals.models import ApprovalRequest
from approvals.queries import changes_of
from approvals.raises import proposed_up_to
from approvals.statuses import RequestStatus
from jobs.costs.ledger import expected_cost
from jobs.permissions import AnyUser
from queueing.budgets.outlook import BudgetReader


class AmountForm(forms.Form):
    """Up to which cost one of the requests is approved, and its stamp when it was shown."""

    amount = forms.DecimalField(**AMOUNT, label="Up to, in US dollars")
    seen = forms.CharField(required=False, widget=forms.HiddenInput)


@dataclass(frozen=True, slots=True)
class Item:
    request: ApprovalRequest
    form: AmountForm
    #: What the job is expected to cost, and may cost.
    cost: Decimal | None
    limit: str
    #: What differs from the requester's last approved config: key, old and new value.
    changes: Sequence[tuple[str, str, str]]
    #: What has changed since the page was looked at, as a sentence; empty: nothing.
    news: str


@dataclass(frozen=True, slots=True)
class Sum:
    #: The sum of the known costs, in US dollars.
    cost: Decimal
    unknown: int


def items_of(requests: Sequence[ApprovalRequest], data: Mapping[str, str] | None) -> list[Item]:
    """Return the requests with their forms, bound to `data` where somebody has posted the page."""
    changes = changes_of(requests)
    return [_item(request, data, change_lines(changes[request.pk])) for request in requests]


def _item(request: ApprovalRequest, data: Mapping[str, str] | None, changes: Sequence[tuple[str, str, str]]) -> Item:
    prefix, stamp = f"request-{request.pk}", stamp_of(request)
    seen = None if data is None else data.get(f"{prefix}-seen")
    news = "" if seen is None or seen == stamp else _news(request)
    form = AmountForm(data, prefix=prefix, initial={"amount": _two_places(proposed_up_to(request)), "seen": stamp})
    if news:
        # Shown anew, as it is now: what was typed was for another state.
        form = AmountForm(prefix=prefix, initial={"amount": _two_places(proposed_up_to(request)), "seen": stamp})
    return Item(request, form, cost_of(request), limit_of(request), changes, news)


def left_for(requests: Sequence[ApprovalRequest], reader: AnyUser) -> list[str]:
    """Return what the budgets leave to each of the organizations, as sentences."""
    budgets = BudgetReader(reader)
    organizations = {request.organization for request in requests if request.organization is not None}
    outlooks = map(budgets.of_organization, sorted(organizations, key=str))
    return [outlook.sentence for outlook in outlooks if outlook is not None]


def _two_places(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:.2f}"


def stamp_of(request: ApprovalRequest) -> str:
    """Return a fingerprint of what a reviewer goes by: terms, limits, approvals and status."""
    return digest_of_terms(dict(_state(request)))[:16]


def _state(request: ApprovalRequest) -> Iterator[tuple[str, str]]:
    yield "terms", request.config_digest
    yield "status", request.status
    for name in ("up_to_usd", "raise_to_usd"):
        yield name, str(getattr(request, name))
    yield "limit", str(request.job.max_cost_usd)
    yield "approvals", str([item.approvals_given for item in request.requirements.all()])


def _news(request: ApprovalRequest) -> str:
    if request.status != RequestStatus.PENDING:
        return f"It is {request.status} by now, by {request.reviewed_by}."
    if request.expires_at <= timezone.now():
        return "Its time is up."
    given = sum(item.approvals_given for item in request.requirements.all())
    return f"It has changed since: {given} approval{'s' if given != 1 else ''} so far, may cost {limit_of(request)}."


def cost_of(request: ApprovalRequest) -> Decimal | None:
    """Return what an approval adds to what is spent, as far as is known: of a raise, the difference."""
    if request.raise_to_usd is not None:
        return request.raise_to_usd - (request.job.max_cost_usd or Decimal(0))
    return expected_cost(request.job)


def cost_sum(requests: Sequence[ApprovalRequest]) -> Sum:
    costs = [cost_of(request) for request in requests]
    known = [cost for cost in costs if cost is not None]
    return Sum(sum(known, Decimal(0)), len(costs) - len(known))
