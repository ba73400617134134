"""The queue's check of the deployment: what may cost money and nobody follows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.doctor.findings import Finding, bad, ok, warn
from jobs.models import Job, ProviderConfig
from jobs.providers import get_provider, names
from jobs.statuses import AT_PROVIDER
from queueing.models import QueueEntry

#: A provider has confirmed a cancellation by then, and a job that runs was heard of.
UNCONFIRMED_AFTER = timedelta(minutes=10)
SILENT_AFTER = timedelta(minutes=30)
SHOWN = 5
REFRESH = f"{COMMAND} sync_jobs --active"


def money_in_flight() -> Iterator[Finding]:
    """Check that nothing runs at a provider that nobody knows the state of."""
    now = timezone.now()
    at_providers = Job.objects.filter(status__in=AT_PROVIDER)
    cancelled = at_providers.filter(cancel_requested_at__lt=now - UNCONFIRMED_AFTER)
    if text := _listed(cancelled):
        yield bad(f"Cancelled, and their providers have not confirmed it for 10 minutes: {text}.", REFRESH)
    unconfirmed = Job.objects.filter(pk__in=QueueEntry.objects.live().exclude(unconfirmed_at=None).values("job"))
    if text := _listed(unconfirmed):
        yield bad(
            f"Submitted, and nobody knows whether their providers have them: {text}.",
            f"Look at the provider, then say so on the page Queue: {full_link('/queue')}",
        )
    if text := _listed(Job.objects.active().filter(metadata__has_key="stray_of")):
        yield warn(f"Strays, made twice by their providers and not stopped yet: {text}.", REFRESH)
    if text := _listed(_unheard_of(now)):
        yield warn(f"Nothing was heard of them for half an hour: {text}.", REFRESH)
    yield ok(f"{at_providers.count()} jobs are at providers.")


def _unheard_of(now: datetime) -> QuerySet[Job]:
    """Return the jobs of providers elsewhere that should have been heard of, unless their providers are known to fail.

    What runs on this machine is watched by its records, which say nothing while it trains.
    """
    configs = ProviderConfig.of_all([name for name in names() if not get_provider(name).bound_to_machine])
    told = [name for name, config in configs.items() if config.enabled and config.silence_minutes]
    since = now - SILENT_AFTER
    silent = Q(last_synced_at__lt=since) | Q(last_synced_at=None, queued_at__lt=since)
    return Job.objects.filter(silent, provider__in=told, status__in=AT_PROVIDER).exclude(external_id=None)


def _listed(jobs: QuerySet[Job]) -> str:
    """Return the newest, and how many more there are; empty: none."""
    ids = list(jobs.order_by("-pk").values_list("pk", flat=True)[: SHOWN + 1])
    more = f" and {jobs.count() - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more
