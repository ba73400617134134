"""The page that decides about several requests: each cost, their sum, and what has changed since it was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone

from approvals.admin.request_page import AMOUNT, DecisionForm, change_lines, limit_of
from approvals.approved_terms import digest_of_terms
from approvals.models import ApprovalRequest
from approvals.queries import changes_of
from approvals.raises import proposed_up_to
from approvals.review import Answer, decide_each
from approvals.reviewers import bypasses, may_bypass
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import current_user
from cloudtrain_site.states import Source
from jobs.costs.ledger import expected_cost
from jobs.models import ProviderConfig
from jobs.permissions import AnyUser
from queueing.budgets.outlook import BudgetReader

DECIDED_AS = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected"}


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
        return f"Already {request.status} by {request.reviewed_by}."
    if request.expires_at <= timezone.now():
        return "The request has expired."
    given = sum(item.approvals_given for item in request.requirements.all())
    return f"Changed: {given} approval{'s' if given != 1 else ''} so far, may cost {limit_of(request)}."


def cost_of(request: ApprovalRequest, config_of: Callable[[str], ProviderConfig] = ProviderConfig.of) -> Decimal | None:
    """Return what an approval adds to what is spent, as far as is known: of a raise, the difference."""
    if request.raise_to_usd is not None:
        return request.raise_to_usd - (request.job.max_cost_usd or Decimal(0))
    return expected_cost(request.job, config_of)


def cost_sum(requests: Sequence[ApprovalRequest]) -> Sum:
    config_of = cache(ProviderConfig.of)
    costs = [cost_of(request, config_of) for request in requests]
    known = [cost for cost in costs if cost is not None]
    return Sum(sum(known, Decimal(0)), len(costs) - len(known))


def decide_or_ask(
    request: HttpRequest, chosen: Sequence[ApprovalRequest], verdict: Verdict, source: Source
) -> dict[str, Any] | None:
    """Decide as the page that asks was answered, and return None. Without a valid answer return that page's context."""
    data = request.POST if "decision" in request.POST else None
    is_bypass = any(bypasses(request.user, item, verdict) for item in chosen)
    form = DecisionForm(data, initial={"decision": verdict}, needs_reason=is_bypass or verdict == Verdict.REJECT)
    items = items_of(chosen, data)
    is_same = not any(item.news for item in items)
    if data and form.is_valid() and is_same and all(item.form.is_valid() for item in items):
        amounts = {item.request.pk: item.form.cleaned_data["amount"] for item in items}
        decide_and_report(request, chosen, verdict, form, amounts, source)
        return None
    return {
        "form": form,
        "requests": chosen,
        "items": items,
        "has_news": not is_same,
        "sum": cost_sum(chosen),
        "left": left_for(chosen, request.user),
        "decision": verdict.value,
        "bypasses": is_bypass,
        "may_bypass": verdict == Verdict.APPROVE and any(may_bypass(request.user, item) for item in chosen),
    }


def decide_and_report(
    request: HttpRequest,
    chosen: Sequence[ApprovalRequest],
    verdict: Verdict,
    form: DecisionForm,
    amounts: Mapping[int, Decimal | None],
    source: Source,
) -> None:
    """Decide each, and report in messages how many were decided, which were not, and why."""
    names = {item.pk: item.job.config_name for item in chosen}
    fields = form.cleaned_data
    answers = decide_each(
        list(names),
        verdict,
        user=current_user(request),
        source=source,
        reason=fields["reason"],
        bypass=verdict == Verdict.APPROVE and fields["bypass"],
        amounts=amounts,
    )
    level = messages.SUCCESS if all(answer.won for answer in answers) else messages.WARNING
    messages.add_message(request, level, f"{', '.join(_summary(answers, verdict, chosen))}.")
    for answer in answers:
        if not answer.won or answer.status == RequestStatus.PENDING:
            messages.warning(request, f"{names[answer.request_id]}: {answer.detail}")


def _summary(answers: Sequence[Answer], verdict: Verdict, chosen: Sequence[ApprovalRequest]) -> list[str]:
    """Return e.g. "3 approved", "1 already decided by carol"."""
    deciders = dict(
        ApprovalRequest.objects.filter(pk__in=[item.pk for item in chosen]).values_list("pk", "reviewed_by")
    )
    counts: Counter[str] = Counter()
    for answer in answers:
        if answer.won:
            counts[
                "counted, more approvals needed" if answer.status == RequestStatus.PENDING else DECIDED_AS[verdict]
            ] += 1
        elif answer.code == "already_decided" and deciders.get(answer.request_id):
            counts[f"already decided by {deciders[answer.request_id]}"] += 1
        else:
            counts["not decided"] += 1
    return [f"{count} {label}" for label, count in counts.items()]
