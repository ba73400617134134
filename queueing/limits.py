"""The limits in force, and how much of them is taken."""

from __future__ import annotations

from django.db.models import Count

from cloudtrain_site.enterprise import get_enterprise_config
from jobs.models import Organization
from queueing.models import QueueEntry, QueueState
from queueing.policy import Candidate, Limits, Usage


def queue_state(*, lock: bool = False) -> QueueState:
    """The shared row. `lock`: nobody else decides until this transaction ends (SQLite's writer lock does the same)."""
    states = QueueState.objects.select_for_update() if lock else QueueState.objects.all()
    return states.filter(pk=1).first() or QueueState.objects.get_or_create(pk=1)[0]


def current_limits(state: QueueState) -> Limits:
    """The limits as they are set now."""
    own = Organization.objects.exclude(max_running=None).values_list("pk", "max_running")
    return Limits(
        total=state.max_running,
        per_user=state.max_running_per_user,
        per_organization=state.max_running_per_organization,
        organizations={pk: limit for pk, limit in own if limit is not None},
        providers={"local": get_enterprise_config().local.max_running},
        paused=state.paused,
    )


def current_usage() -> Usage:
    """Who holds how many slots now."""
    usage = Usage()
    groups = (
        QueueEntry.objects.holding_slots()
        .values_list("user_id", "organization_id", "provider")
        .order_by()
        .annotate(count=Count("pk"))
    )
    for user_id, organization_id, provider, count in groups:
        usage.total += count
        usage.users[user_id] += count
        usage.organizations[organization_id] += count
        usage.providers[provider] += count
    return usage


def candidate_of(entry: QueueEntry) -> Candidate:
    """What the policy needs to know of `entry`."""
    return Candidate(
        entry_id=entry.pk,
        user_id=entry.user_id,
        organization_id=entry.organization_id,
        provider=entry.provider,
        not_before=entry.not_before,
    )
