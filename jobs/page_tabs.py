"""The tabs above the list of jobs: which statuses it shows, and how many jobs are active in each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count
from django.http import QueryDict

from jobs.models import JobQuerySet
from jobs.statuses import ACTIVE, AT_PROVIDER, JobStatus

TABS: tuple[tuple[str, tuple[JobStatus, ...]], ...] = (
    ("All", ()),
    ("Waiting", (JobStatus.PENDING,)),
    ("Running", AT_PROVIDER),
    ("Completed", (JobStatus.COMPLETED,)),
    ("Failed", (JobStatus.FAILED,)),
    ("Cancelled", (JobStatus.CANCELLED,)),
)


@dataclass(frozen=True, slots=True)
class Tab:
    """One choice of statuses. `count`: how many jobs there are now; None where nobody would want to count."""

    label: str
    address: str
    is_current: bool
    count: int | None


def make_tabs(visible: JobQuerySet, asked: QueryDict, statuses: Iterable[str]) -> list[Tab]:
    """The tabs for who sees the `visible` jobs; each keeps what else the address asks for, and starts at the top."""
    counts = _active_counts(visible)
    chosen = set(statuses)
    return [
        Tab(
            label=label,
            address=_address(asked, group),
            is_current=chosen == set(group),
            # The ended ones may be a hundred thousand: their number is of no use and costs a scan.
            count=sum(counts.get(status, 0) for status in group) if set(group) & set(ACTIVE) else None,
        )
        for label, group in TABS
    ]


def _active_counts(visible: JobQuerySet) -> dict[str, int]:
    groups = visible.active().order_by().values_list("status").annotate(Count("pk"))
    return dict(groups)


def _address(asked: QueryDict, group: tuple[JobStatus, ...]) -> str:
    query = asked.copy()
    for name in ("cursor", "id"):
        query.pop(name, None)
    query.setlist("status", list(group))
    return f"?{query.urlencode()}"
