"""The jobs' components of the site's health."""

from __future__ import annotations

from django.utils import timezone

from jobs.models import ClusterLook, Organization, ProviderConfig
from jobs.providers import label_of, names
from jobs.sync.clusters import cluster_names
from jobs.sync.discovery import unassigned_jobs_of
from jobs.sync.readiness import why_not_at_cluster


def lost_webhooks() -> str:
    """A sentence about the providers whose webhooks don't arrive; empty while none is known to be lost."""
    missed = ProviderConfig.objects.filter(enabled=True, webhooks_missed_at__isnull=False, name__in=names())
    return " ".join(
        f"Webhooks from {name} are not arriving: since {since:%Y-%m-%d %H:%M} UTC jobs change without a "
        "delivery. Check whether the provider can reach the webhook address, and whether deliveries are refused."
        for name, since in missed.exclude(webhook_url="").values_list("name", "webhooks_missed_at")
        if since is not None
    )


def replicate_outage() -> str:
    """A sentence about a Replicate that can't be asked now; empty while none is known, or it is switched off."""
    return _outages(["replicate"])


def declared_outages() -> str:
    """The same for the providers that the configuration file declares; `clusters_away` tells of a failed look."""
    away = ClusterLook.objects.filter(pk__in=cluster_names()).exclude(error="").values_list("pk", flat=True)
    return _outages([name for name in names() if name not in ("local", "replicate", *away)])


def _outages(of: list[str]) -> str:
    out = ProviderConfig.objects.filter(name__in=of, enabled=True, outage_until__gt=timezone.now())
    return " ".join(
        f"{label_of(config.name)} could not be checked {config.outage_failures} times in a row. The next attempt is at "
        f"{config.outage_until:%H:%M:%S} UTC. The log shows its answers."
        for config in out
    )


def clusters_away() -> str:
    """A sentence about each cluster that can't be asked, or has no node for a training; empty while there is none."""
    looks = ClusterLook.objects.filter(pk__in=cluster_names())
    off = set(ProviderConfig.objects.filter(enabled=False).values_list("pk", flat=True))
    sentences = (why_not_at_cluster(label_of(look.pk), look) for look in looks if look.pk not in off)
    return " ".join(filter(None, sentences))


def unassigned_jobs() -> str:
    """A sentence about discovered jobs that no member of an organization sees, while nobody has said whose they are."""
    named = set(ProviderConfig.objects.exclude(discovery_organization=None).values_list("name", flat=True))
    if Organization.objects.count() < 2:
        return ""  # the next discovery gives them to the only one
    unnamed = [name for name in names() if name not in named]
    return " ".join(filter(None, (unassigned_jobs_of(name, label_of(name)) for name in unnamed)))
