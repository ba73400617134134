"""One page of deliveries, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from cloudtrain_site.notices.channels import Owner
from cloudtrain_site.notices.deliveries import STATES, in_state
from cloudtrain_site.notices.models import Delivery
from jobs.models import Job

PAGE_SIZE = 50


def newest(deliveries: QuerySet[Delivery], count: int) -> Sequence[Delivery]:
    """Return the first `count`. `numbered` is the subject, with the number that tells apart jobs of one name."""
    of_notice = Job.objects.filter(pk=OuterRef("notice__job_id"))
    number, name = (Subquery(of_notice.values(column)[:1]) for column in ("number", "config_name"))
    found = list(deliveries.annotate(job_number=number, job_name=name)[:count])
    for row in found:
        vars(row)["numbered"] = _numbered(row.notice.subject, row.job_name, row.job_number)
    return found


def _numbered(subject: str, name: str | None, number: int | None) -> str:
    if not name or number is None:
        return subject
    mark = f"\u2066#{number}\u2069"  # isolated: beside Arabic its sign would come last
    # It stands first, or after "Approval needed: ". A long subject is cut within the name.
    before, is_first, after = f": {subject} ".partition(f": {name}")
    if not is_first or after[0] not in " :":
        return f"{subject} {mark}"
    return f"{before}{is_first} {mark}{after}"[2:-1]


def page_of(request: HttpRequest, owner: Owner) -> dict[str, Any]:
    """Return the page's context. An unknown state or a broken `before` shows the newest of all."""
    state, before = request.GET.get("state", ""), request.GET.get("before", "")
    state = state if state in STATES else ""
    rows = in_state(owner.deliveries(), state)
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = newest(rows, PAGE_SIZE + 1)
    return {
        "deliveries": found[:PAGE_SIZE],
        "states": STATES,
        "state": state,
        "older": found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None,
    }
