"""Whether a provider can run a job now, as far as it is known without asking it."""

from __future__ import annotations

from django.utils import timezone

from jobs.models import ClusterLook, ProviderConfig
from jobs.providers import get_provider, label_of
from jobs.providers.base import NeedsAccess
from jobs.sync import circuit_breaker
from jobs.sync.clusters import is_cluster, view_of


def why_not_now(config: ProviderConfig, look: ClusterLook | None = None, *, with_access: bool = True) -> str:
    """Return a sentence; empty when nothing is known that keeps the provider from running jobs now.

    `look`: the last one at its cluster. `with_access`: this process asks providers, so what it lacks counts.
    """
    provider = get_provider(config.name)
    if not config.enabled:
        return f"{provider.label} is switched off."
    if circuit_breaker.is_open(config, timezone.now()):
        return f"{provider.label} could not be reached. The next attempt is at {config.outage_until:%H:%M:%S} UTC."
    if with_access and isinstance(provider, NeedsAccess) and (lack := provider.missing_access()):
        return lack
    return why_not_at_cluster(provider.label, look)


def why_not_at_cluster(label: str, look: ClusterLook | None) -> str:
    """Return why no job can run at a cluster, by the last look; empty when some can, or nobody has looked."""
    if look is None:
        return ""
    if look.error:
        seen = f" It was last seen at {look.seen_at:%Y-%m-%d %H:%M:%S} UTC." if look.seen_at else ""
        # Some errors name the cluster themselves.
        who = "" if look.error.startswith(label) else f"{label} could not be checked: "
        return f"{who}{look.error.removesuffix('.')}.{seen}"
    view = view_of(look)
    if view is not None and not any(node.is_usable for node in view.nodes):
        return f"{label} has no node that accepts trainings."
    return ""


def failed_look_at(provider: str) -> str:
    """Return why the last look at a provider's cluster failed; empty when it didn't, or there is no cluster."""
    if not is_cluster(provider):
        return ""
    failed = ClusterLook.objects.filter(pk=provider).exclude(error="").defer("data").first()
    return "" if failed is None else why_not_at_cluster(label_of(provider), failed)
