"""What the jobs have to say about the state of the site."""

from __future__ import annotations

from jobs.models import ProviderConfig


def lost_webhooks() -> str:
    """A sentence about the providers whose webhooks don't arrive; empty while none is known to be lost."""
    missed = ProviderConfig.objects.filter(enabled=True, webhooks_missed_at__isnull=False).exclude(webhook_url="")
    return " ".join(
        f"Webhooks from {name} are not arriving: since {since:%Y-%m-%d %H:%M} UTC jobs change and no delivery tells of "
        "it. Look whether the provider can reach the webhook address, and whether deliveries are refused."
        for name, since in missed.values_list("name", "webhooks_missed_at")
        if since is not None
    )
