"""The limits in force, and their usage."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count

from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.enterprise import config_in_force
from jobs.models import Organization, ProviderConfig
from jobs.providers import names
from queueing.models import ProviderLimit, QueueEntry, QueueState
from queueing.policy import Candidate, Limits, Usage

_STATE = Prepared(lambda: QueueState.objects.filter(pk=1))
_PROVIDERS = Prepared(lambda: ProviderLimit.objects.all())
_SWITCHED_OFF = Prepared(lambda: ProviderConfig.objects.filter(enabled=False).values_list("pk", flat=True))
_USAGE = Prepared(
    lambda: (
        QueueEntry.objects.taking_slots()
        .values_list("user_id", "organization_id", "provider")
        .order_by()
        .annotate(count=Count("pk"))
    )
)


def queue_state() -> QueueState:
    return _STATE.first() or QueueState.objects.get_or_create(pk=1)[0]


def current_limits(state: QueueState, concerned: Iterable[Organization | None] | None = None) -> Limits:
    """Return the present limits; of organizations those of all, or of the `concerned`, which costs no query."""
    providers = _PROVIDERS()
    set_here = {row.provider: row.max_running for row in providers if row.max_running is not None}
    return Limits(
        total=state.max_running,
        per_user=state.max_running_per_user,
        per_organization=state.max_running_per_organization,
        organizations=_own_numbers(Organization.objects.exclude(max_running=None) if concerned is None else concerned),
        providers={**set_here, **limits_of_file()},
        drained=frozenset(row.provider for row in providers if row.drained),
        switched_off=frozenset(_SWITCHED_OFF()),
        existing=frozenset(names()),
        paused=state.paused,
        fair_share=state.fair_share,
    )


def is_switched_off(provider: str) -> bool:
    return ProviderConfig.objects.filter(pk=provider, enabled=False).exists()


def limits_of_file() -> dict[str, int]:
    """Return the providers' limits that the configuration file sets: nobody changes those here."""
    config = config_in_force()
    declared = {name: one.max_running for name, one in config.instances.items() if one.max_running is not None}
    return {"local": config.local.max_running, **declared}


def _own_numbers(organizations: Iterable[Organization | None]) -> dict[int, int]:
    return {item.pk: item.max_running for item in organizations if item and item.max_running is not None}


def current_usage() -> Usage:
    usage = Usage()
    for user_id, organization_id, provider, count in _USAGE():
        usage.count(user_id, organization_id, provider, count)
    return usage


def candidate_of(entry: QueueEntry) -> Candidate:
    return Candidate(
        entry_id=entry.pk,
        user_id=entry.user_id,
        organization_id=entry.organization_id,
        provider=entry.provider,
        turn=entry.turn,
        not_before=entry.not_before,
        needs=entry.needs_usd,
    )
