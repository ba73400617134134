"""One decision about several ticked requests: first a page that asks, then the decisions."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from approvals.admin.bulk import decide_or_ask
from approvals.dashboard.filters import Filters
from approvals.queries import concerns, visible_requests
from approvals.review import MAX_BULK_DECISIONS
from approvals.statuses import Verdict
from cloudtrain_site.states import Source
from jobs.dashboard.navigation import page_context

#: Every database takes a number of this many digits for an id.
MAX_ID_DIGITS = 18


@never_cache
@login_required
@require_POST
def decide_several(request: HttpRequest) -> HttpResponse:
    """Ask about the ticked requests, with their costs and changes; once that is answered, decide each."""
    around, user = page_context(request), request.user
    back = reverse("approvals-page") + Filters.of(request.GET).query
    ids = {int(one) for one in request.POST.getlist("id") if is_id(one)}
    verdict = request.POST.get("verdict", "")
    if verdict not in Verdict.values or not ids or len(ids) > MAX_BULK_DECISIONS:
        messages.error(request, f"Tick 1 to {MAX_BULK_DECISIONS} requests. Nothing was decided.")
        return redirect(back)
    found = (
        visible_requests(user).filter(concerns(user, around["own_teams"]), pk__in=ids).select_related("organization")
    )
    chosen = list(found.order_by("expires_at", "pk"))
    if len(chosen) < len(ids):
        messages.error(request, "A ticked request is no longer there. Nothing was decided.")
        return redirect(back)
    question = decide_or_ask(request, chosen, Verdict(verdict), Source.DASHBOARD)
    if question is None:
        return redirect(back)
    return render(request, "approvals/decide_several.html", {**around, **question, "back": back})


def is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS
