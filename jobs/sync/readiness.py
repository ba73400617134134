"""Whether a provider can run a job now, as far as it is known without asking it."""

from __future__ import annotations

from django.utils import timezone

from jobs.models import ProviderConfig
from jobs.providers import get_provider
from jobs.providers.base import NeedsAccess
from jobs.sync import circuit_breaker


def why_not_now(config: ProviderConfig) -> str:
    """Return a sentence; empty when nothing is known that keeps the provider from running jobs now."""
    provider = get_provider(config.name)
    if not config.enabled:
        return f"{provider.label} is switched off at present."
    if circuit_breaker.is_open(config, timezone.now()):
        return f"{provider.label} could not be reached; it is asked again at {config.outage_until:%H:%M:%S} UTC."
    return provider.missing_access() if isinstance(provider, NeedsAccess) else ""
