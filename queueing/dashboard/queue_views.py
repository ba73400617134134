"""The queue page: running, waiting and held jobs with reasons, the limits, and the controls for leads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from cloudtrain_site.api import as_utc
from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.wording.values import duration, rough_duration
from jobs.costs.texts import expected_cost
from jobs.dashboard.job_detail import LATE_SECONDS, seconds_left
from jobs.dashboard.navigation import live_page
from jobs.permissions import AnyUser, Team, is_superuser, organizations_of, own_teams
from jobs.providers import label_of, names, place_of
from jobs.queries import LABELS
from jobs.roles import MANAGERS, SUBMITTERS
from queueing import extensions
from queueing.api.serializers import with_facts
from queueing.limits import current_limits, current_usage, queue_state
from queueing.models import MAX_PRIORITY, QueueEntry
from queueing.operations import may_run_queue
from queueing.policy import Limits, Usage
from queueing.queries import read_entries, visible_entries
from queueing.statuses import TAKES_SLOT, EntryStatus
from queueing.waiting.estimates import likely_lengths
from queueing.waiting.explain import NEXT

PAGE_SIZE = 50
MAX_RUNNING_SHOWN = 50
MAX_HELD_SHOWN = 20
MAX_PAGE = 10_000
#: The reason of a job that waits only for those before it.
IN_TURN = "Starts after the jobs before it."


def _queue(request: HttpRequest) -> dict[str, Any]:
    user, number, teams = request.user, _page_number(request), own_teams(request)
    limits, usage = current_limits(queue_state()), current_usage()
    running = visible_entries(user, TAKES_SLOT)
    waiting = visible_entries(user, (EntryStatus.PENDING,))
    held = visible_entries(user, (EntryStatus.BLOCKED,))
    start = (number - 1) * PAGE_SIZE
    parts = running[:MAX_RUNNING_SHOWN], waiting[start : start + PAGE_SIZE + 1], held[:MAX_HELD_SHOWN]
    groups = dict(zip(("running", "waiting", "held"), read_entries(*parts), strict=True))
    has_more = len(groups["waiting"]) > PAGE_SIZE
    groups["waiting"] = groups["waiting"][:PAGE_SIZE]
    counts = {"running": running.count(), "waiting": waiting.count(), "held": held.count()}
    everybody = QueueEntry.objects.filter(status=EntryStatus.PENDING).count()
    rows = _rows(groups, user, teams)
    return {
        "running": _grouped(rows["running"], "waiting_reason"),
        "waiting": _grouped(rows["waiting"], "why"),
        "held": _grouped(rows["held"], "why"),
        "counts": counts,
        "elsewhere": everybody - counts["waiting"],
        "max_running": MAX_RUNNING_SHOWN,
        "max_held": MAX_HELD_SHOWN,
        "number": number,
        "earlier": number - 1,
        "later": number + 1 if has_more else 0,
        "paused": limits.paused,
        "drained": [label_of(name) for name in sorted(limits.drained)],
        "limits": limit_rows(user, teams, limits, usage),
        "at_limit": people_at_limit(user, limits, usage),
        "manages": any(team.role in MANAGERS for team in teams),
        "runs_queue": may_run_queue(user),
        "is_superuser": is_superuser(user),
        "max_priority": MAX_PRIORITY,
    }


def _page_number(request: HttpRequest) -> int:
    value = request.GET.get("page", "")
    return max(1, min(int(value), MAX_PAGE)) if value.isascii() and value.isdigit() and len(value) < 10 else 1


def _rows(groups: dict[str, list[QueueEntry]], user: AnyUser, teams: Sequence[Team]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each group. The number of queries doesn't depend on theirs."""
    entries = [entry for group in groups.values() for entry in group]
    with_facts(entries, user)
    managed, submitted = ({team.id for team in teams if team.role in roles} for roles in (MANAGERS, SUBMITTERS))
    superuser, ends, now = is_superuser(user), _expected_ends(groups["running"]), timezone.now()
    pages = reverse("job-page", args=["-"]).removesuffix("-")
    holds = extensions.find_holds([entry.job_id for entry in groups["held"]], user)

    def row(entry: Any) -> dict[str, Any]:
        manages = superuser or entry.organization_id in managed
        is_own = entry.user_id == user.pk and entry.organization_id in submitted
        is_stoppable = entry.job.cancel_requested_at is None
        hold = holds.get(entry.job_id) if is_stoppable else None
        return {
            "job_id": entry.job_id,
            "address": f"{pages}{entry.job_id}",
            "config_name": entry.job.config_name,
            "submitted_by": entry.user and entry.user.username,
            "organization": entry.organization and entry.organization.name,
            "priority": entry.effective_priority,
            "position": entry.queue_position,
            "waiting_reason": entry.waiting_reason,
            "unconfirmed": entry.unconfirmed_at is not None,
            "last_error": beginning(entry.last_error),
            "enqueued_at": as_utc(entry.enqueued_at),
            "dispatched_at": as_utc(entry.dispatched_at),
            **_chip(entry),
            "number": entry.job.number,
            "provider_label": label_of(entry.provider),
            "runs_on": place_of(label_of(entry.provider), entry.job.hardware_profile),
            "why": f"{hold.reason}." if hold else _why(entry, is_stoppable),
            "hold": hold,
            "progress": entry.job.progress,
            "percent": None if entry.job.progress is None else int(entry.job.progress),
            **ends.get(entry.pk, {}),
            "running_for": _since(entry.dispatched_at, now),
            "cost": expected_cost(entry.job),
            "cost_source": entry.job.estimate_source,
            "wait": _wait_text(entry.estimated_wait_seconds),
            "may_reorder": manages and is_stoppable,
            "may_cancel": is_stoppable and (manages or is_own),
        }

    return {name: [row(entry) for entry in group] for name, group in groups.items()}


def _since(start: datetime | None, now: datetime) -> str:
    return duration((now - start).total_seconds()) if start else ""


def _grouped(rows: Iterable[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return the rows by their reason. The reasons are in the order of their first rows."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return [{"reason": reason, "rows": alike} for reason, alike in groups.items()]


def _expected_ends(running: Sequence[QueueEntry]) -> dict[int, dict[str, str | None]]:
    """Return the probable end of each, by its own pace or that of jobs like it, or the length that it has exceeded."""
    now = timezone.now()
    going = [entry for entry in running if entry.status == EntryStatus.RUNNING and not entry.job.cancel_requested_at]
    lengths, ends = likely_lengths(going), dict[int, dict[str, str | None]]()
    for entry in going:
        left, began = seconds_left(entry.job, now), entry.job.started_at or now
        if left is not None:
            end = now + timedelta(seconds=left)
            ends[entry.pk] = (
                {"exceeded": rough_duration((end - began).total_seconds())}
                if left < -LATE_SECONDS
                else {"ends_at": as_utc(end)}
            )
        elif length := lengths.get(entry.pk):
            end = began + timedelta(seconds=length)
            ends[entry.pk] = {"ends_at": as_utc(end)} if end > now else {"exceeded": rough_duration(length)}
    return ends


def _chip(entry: QueueEntry) -> dict[str, str]:
    """Return the chip's label, and its kind in the stylesheet."""
    if entry.job.cancel_requested_at is not None:
        return {"kind": "cancelling", "label": LABELS["cancelling"]}
    if entry.unconfirmed_at is not None:
        return {"kind": "held", "label": "Unconfirmed"}
    if entry.status == EntryStatus.DISPATCHING:
        return {"kind": "queued", "label": "Starting"}
    return {"kind": entry.job.status, "label": LABELS[entry.job.status]}


def _why(entry: Any, is_stoppable: bool) -> str:
    if not is_stoppable:
        return entry.waiting_reason or "Being cancelled."
    if entry.waiting_reason == NEXT and (entry.queue_position or 1) > 1:
        return IN_TURN
    return entry.waiting_reason or ""


def _wait_text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"in about {rough_duration(seconds)}" if seconds >= 1 else "soon"


queue_page, queue_now = live_page("queueing/queue.html", "queueing/_queue.html", _queue)


#: Only the busiest organizations are shown: superusers see all of them, maybe a thousand.
MAX_ORGANIZATIONS_SHOWN = 12
MAX_PEOPLE_SHOWN = 20


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One row of the limits. `allowed` None: it has no limit of its own."""

    label: str
    taken: int
    allowed: int | None
    is_name: bool = False

    @property
    def is_full(self) -> bool:
        return self.allowed is not None and self.taken >= self.allowed

    @property
    def shown(self) -> int:
        """The length of the bar: at most `allowed`, also when the limit was lowered below the slots taken."""
        return min(self.taken, self.allowed or 0)


def limit_rows(user: AnyUser, teams: Sequence[Team], limits: Limits, usage: Usage) -> list[LimitRow]:
    """Return the general limit, the user's own, and those of the user's organizations and of providers."""
    rows = [
        LimitRow(team.name, usage.organizations[team.id], limits.of_organization(team.id), is_name=True)
        for team in teams
    ]
    rows.sort(key=lambda team: (-team.taken, team.label))
    providers = [
        LimitRow(label_of(name), usage.providers[name], limits.providers.get(name))
        for name in names()
        if usage.providers[name] or name in limits.providers
    ]
    return [
        LimitRow("Total", usage.total, limits.total),
        LimitRow("You", usage.users[user.pk], limits.per_user),
        *rows[:MAX_ORGANIZATIONS_SHOWN],
        *providers,
    ]


def people_at_limit(user: AnyUser, limits: Limits, usage: Usage) -> list[str]:
    """Return the names of users at their limit whom the reader may see."""
    full = [pk for pk, taken in usage.users.items() if pk is not None and taken >= limits.per_user]
    people = User.objects.filter(pk__in=full)
    if not is_superuser(user):
        people = people.filter(memberships__organization__in=organizations_of(user)).distinct()
    return list(people.order_by("username").values_list("username", flat=True)[:MAX_PEOPLE_SHOWN])
