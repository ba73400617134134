"""The queue as people see it: what runs, what waits and why, the limits, and for leads the levers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from jobs.access import AnyUser, is_superuser, manages_anything, organizations_of
from jobs.dashboard.rows import LABELS, duration
from jobs.page_kinds import live_page
from jobs.roles import MANAGERS, SUBMITTERS
from queueing import holds
from queueing.api.views import represent_entries, visible_entries
from queueing.controls import may_run_queue
from queueing.explain import NEXT
from queueing.limits import queue_state
from queueing.models import MAX_PRIORITY, QueueEntry
from queueing.page_limits import drained_providers, limit_rows, people_at_limit
from queueing.statuses import HOLDS_SLOT, EntryStatus

PAGE_SIZE = 50
#: More than run anywhere at once, and a bound all the same.
RUNNING_SHOWN = 200
HELD_SHOWN = 20
LAST_PAGE = 10_000
ROUNDED_FROM = 120


def _queue(request: HttpRequest) -> dict[str, Any]:
    user, number, state = request.user, _page_number(request), queue_state()
    seen = visible_entries(user)
    waiting = seen.filter(status=EntryStatus.PENDING)
    start = (number - 1) * PAGE_SIZE
    groups = {
        "running": list(seen.filter(status__in=HOLDS_SLOT)[:RUNNING_SHOWN]),
        "waiting": list(waiting[start : start + PAGE_SIZE + 1]),
        "held": list(seen.filter(status=EntryStatus.BLOCKED)[:HELD_SHOWN]),
    }
    has_more = len(groups["waiting"]) > PAGE_SIZE
    groups["waiting"] = groups["waiting"][:PAGE_SIZE]
    counts = {"waiting": waiting.count(), "held": seen.filter(status=EntryStatus.BLOCKED).count()}
    everybody = QueueEntry.objects.filter(status=EntryStatus.PENDING).count()
    return {
        **_rows(groups, user),
        "counts": counts,
        "elsewhere": everybody - counts["waiting"],
        "number": number,
        "earlier": number - 1,
        "later": number + 1 if has_more else 0,
        "paused": state.paused,
        "drained": drained_providers(),
        "limits": limit_rows(user, state),
        "at_limit": people_at_limit(user, state),
        "manages": manages_anything(user),
        "runs_queue": may_run_queue(user),
        "is_superuser": is_superuser(user),
        "max_priority": MAX_PRIORITY,
    }


def _page_number(request: HttpRequest) -> int:
    asked = request.GET.get("page", "")
    return max(1, min(int(asked), LAST_PAGE)) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 1


def _rows(groups: dict[str, list[QueueEntry]], user: AnyUser) -> dict[str, list[dict[str, Any]]]:
    """The lines of each group. The number of queries doesn't depend on how many there are."""
    entries = [entry for group in groups.values() for entry in group]
    told = {shown["job_id"]: shown for shown in represent_entries(entries, user)}
    managed, submitted = _organizations(user, MANAGERS), _organizations(user, SUBMITTERS)
    superuser = is_superuser(user)
    held = holds.holds_on([entry.job_id for entry in groups["held"]], user)

    def row(entry: QueueEntry) -> dict[str, Any]:
        manages = superuser or entry.organization_id in managed
        is_own = entry.user_id == user.pk and entry.organization_id in submitted
        is_stoppable = entry.job.cancel_requested_at is None
        facts = told[entry.job_id]
        return {
            **facts,
            **_chip(entry),
            "why": _why(facts, is_stoppable),
            "wait": _in_words(facts["estimated_wait_seconds"]),
            "hold": held.get(entry.job_id) if is_stoppable else None,
            "may_reorder": manages and is_stoppable,
            "may_cancel": is_stoppable and (manages or is_own),
        }

    return {name: [row(entry) for entry in group] for name, group in groups.items()}


def _organizations(user: AnyUser, roles: Sequence[Any]) -> set[int]:
    return set(organizations_of(user, tuple(roles)).values_list("pk", flat=True))


def _chip(entry: QueueEntry) -> dict[str, str]:
    """What the chip says, and its kind for the stylesheet."""
    if entry.job.cancel_requested_at is not None:
        return {"kind": "cancelling", "label": LABELS["cancelling"]}
    if entry.unconfirmed_at is not None:
        return {"kind": "held", "label": "Unconfirmed"}
    if entry.status == EntryStatus.DISPATCHING:
        return {"kind": "queued", "label": "Starting"}
    return {"kind": entry.job.status, "label": LABELS[entry.job.status]}


def _why(facts: dict[str, Any], is_stoppable: bool) -> str:
    if not is_stoppable:
        return "It is being cancelled."
    if facts["waiting_reason"] == NEXT and (facts["position"] or 1) > 1:
        return "It goes when those before it have gone."
    return facts["waiting_reason"] or ""


def _in_words(seconds: float | None) -> str:
    if seconds is None:
        return ""
    # An estimate that names seconds promises too much.
    rounded = round(seconds / 60) * 60 if seconds >= ROUNDED_FROM else seconds
    return f"in about {duration(rounded)}" if seconds >= 1 else "soon"


queue_page, queue_now = live_page("queueing/queue.html", "queueing/_queue.html", _queue)
