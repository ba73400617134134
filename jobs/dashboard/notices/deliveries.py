"""One page of deliveries, newest first."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from cloudtrain_site.notices.channels import Owner
from cloudtrain_site.notices.deliveries import STATES, in_state
from cloudtrain_site.notices.models import Delivery
from jobs.models import Job

PAGE_SIZE = 50


def with_job_numbers(deliveries: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Add as `job_number` what tells apart jobs of one name; None for a notice of no job."""
    of_notice = Job.objects.filter(pk=OuterRef("notice__job_id"))
    return deliveries.annotate(job_number=Subquery(of_notice.values("number")[:1]))


def page_of(request: HttpRequest, owner: Owner) -> dict[str, Any]:
    """Return the page's context. An unknown state or a broken `before` shows the newest of all."""
    state, before = request.GET.get("state", ""), request.GET.get("before", "")
    state = state if state in STATES else ""
    rows = with_job_numbers(in_state(owner.deliveries(), state))
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = list(rows[: PAGE_SIZE + 1])
    return {
        "deliveries": found[:PAGE_SIZE],
        "states": STATES,
        "state": state,
        "older": found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None,
    }
