"""The metrics page: what became of the jobs, and how long they waited. Costs are on the page of costs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode

from cloudtrain_site.wording.values import duration
from jobs.costs.metrics import Period, summary
from jobs.dashboard.navigation import live_page
from jobs.permissions import organizations_of
from jobs.statuses import GROUP_LABELS
from queueing.statistics import DayOfWaits, wait_by_day

PERIOD_DAYS = (7, 30, 90)
DEFAULT_PERIOD_DAYS = 30


def _metrics(request: HttpRequest) -> dict[str, Any]:
    user = request.user
    teams = list(organizations_of(user).order_by("name").values_list("name", flat=True))
    team = request.GET.get("organization", "")
    team = team if team in teams else ""
    requested = request.GET.get("days", "")
    days = next((period for period in PERIOD_DAYS if str(period) == requested), DEFAULT_PERIOD_DAYS)
    figures = summary(user, days, team)
    return {
        "days": days,
        "team": team,
        "address": _address(days, team),
        "periods": [(period, _address(period, team)) for period in PERIOD_DAYS],
        "teams": teams if len(teams) > 1 else [],
        "tiles": _tiles(figures),
        "statuses": _statuses(figures["jobs_by_status"]),
        "waits": [_wait_row(day) for day in wait_by_day(user, Period(days, timezone.now(), team))],
        "is_empty": not figures["job_count"],
    }


def _address(days: int, team: str) -> str:
    parameters = {"days": str(days), "organization": team}
    return f"?{urlencode({name: value for name, value in parameters.items() if value})}"


def _tiles(figures: dict[str, Any]) -> list[dict[str, str]]:
    rate, took, waited = (
        figures[name] for name in ("success_rate", "average_duration_seconds", "average_wait_seconds")
    )
    return [
        {"label": "Jobs", "figure": f"{figures['job_count']:,}"},
        {
            "label": "Success rate",
            "figure": "" if rate is None else f"{rate * 100:.0f} %",
            "note": "of completed and failed",
        },
        {"label": "Average duration", "figure": "" if took is None else duration(took)},
        {
            "label": "Average wait",
            "figure": "" if waited is None else duration(waited),
            "note": "from submission to start",
        },
    ]


def _statuses(counts: dict[str, int]) -> list[dict[str, Any]]:
    most = max(counts.values()) or 1
    return [
        {"kind": status, "label": label, "count": counts[status], "most": most}
        for status, label in GROUP_LABELS.items()
    ]


def _wait_row(day: DayOfWaits) -> dict[str, Any]:
    seconds = day.seconds
    return {
        "date": str(day.day),
        "label": f"{day.day.day} {day.day:%b}",
        "started": day.started,
        "minutes": "" if seconds is None else f"{seconds / 60:.3f}",
        "wait": "" if seconds is None else duration(seconds),
    }


metrics_page, metrics_now = live_page("queueing/metrics.html", "queueing/_metrics.html", _metrics)
