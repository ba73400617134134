"""The page of what was spent: charts and tables of a month or some days, as far as the reader may see costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from jobs.costs.report import MAX_SERIES, Breakdown, Share, accuracies, breakdown, dearest_jobs, shares
from jobs.costs.spending import Spending, zone_of
from jobs.dashboard.navigation import live_page
from jobs.permissions import is_superuser, organizations_of
from queueing.dashboard.spend import address, figures
from queueing.dashboard.spend.address import GROUPS, View
from queueing.dashboard.spend.summary import Summary, summary_of

DEAREST_JOBS = 10
#: Of one organization alone it would be one colour.
GROUPS_OF_ONE = ("user", "provider", "hardware")


def _spend(request: HttpRequest) -> dict[str, Any]:
    organizations = list(organizations_of(request.user).order_by("name").only("name", "time_zone"))
    asked = request.GET.get("organization", "")
    zone = zone_of([one for one in organizations if asked in ("", one.name)])
    today = timezone.now().astimezone(zone).date()
    is_all = len(organizations) > 1 or is_superuser(request.user)
    groups = GROUPS if is_all else GROUPS_OF_ONE
    names = [one.name for one in organizations]
    view = address.read(request.GET, names, next(iter(groups)), today)
    chosen = next((one for one in organizations if one.name == view.organization), None)
    spending = Spending(request.user, view.start, view.end, chosen)
    found = breakdown(spending, view.group, by_month=view.is_by_month)
    owner = chosen or (None if is_all else next(iter(organizations), None))
    summary = summary_of(spending, sum((share.spent for share in found.shares), Decimal(0)), owner, today)
    return {
        "view": view,
        "zone": zone.key,
        "groups": [(group, GROUPS[group][0], view.of(group).address) for group in groups],
        "organizations": names if len(names) > 1 else [],
        **_months(view, today),
        "summary": summary,
        **_chart(view, found, summary),
        "people": figures.lines_of(view, "user", _people(view, spending, found.shares), coloured=False),
        "jobs": figures.job_lines(dearest_jobs(spending, DEAREST_JOBS)),
        "accuracies": accuracies(spending, zone),
        "names_organization": len(organizations) > 1 and not view.organization,
        "exports": {
            "costs": reverse("costs-csv") + view.export_query(f"day,{view.group}"),
            "ledger": reverse("ledger-csv") + view.export_query(),
        },
    }


def _months(view: View, today: date) -> dict[str, Any]:
    months = address.months_before(today, view.month)
    start, end = address.month_days(view.start)
    return {
        "months": [(month, address.month_title(month)) for month in months],
        "earlier": view.on(*address.month_days(start - address.A_DAY)),
        "later": view.on(*address.month_days(end + address.A_DAY)) if end < today else None,
    }


def _chart(view: View, found: Breakdown, summary: Summary) -> dict[str, Any]:
    columns = figures.columns_of(view, found)
    lines = figures.lines_of(view, view.group, found.shares, coloured=True)
    others = len(found.shares) - MAX_SERIES
    series = [line.name for line in lines[:MAX_SERIES]] + (["Others"] if others > 0 else [])
    return {
        "chart": figures.chart_of(columns, None if view.is_by_month else summary.a_day),
        "columns": columns,
        "rows": [(column, column.cells(len(series))) for column in columns if column.amounts],
        "series": series,
        "lines": lines,
        "group_label": GROUPS[view.group][0],
    }


def _people(view: View, spending: Spending, found: Sequence[Share]) -> Sequence[Share]:
    return found if view.group == "user" else shares(spending, "user")


spend_page, spend_now = live_page("queueing/spend.html", "queueing/_spend.html", _spend)
