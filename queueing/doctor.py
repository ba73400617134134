"""The queue's check of the deployment: jobs that may cost money without anybody knowing their state."""

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
from queueing.models import QueueEntry

#: A provider should have confirmed a cancellation by then, and should have told of a running job.
UNCONFIRMED_AFTER = timedelta(minutes=10)
SILENT_AFTER = timedelta(minutes=30)
SHOWN = 5
REFRESH = f"{COMMAND} sync_jobs --active"


def money_in_flight() -> Iterator[Finding]:
    """Check that the state of every job at a provider is known."""
    now = timezone.now()
    at_providers = Job.objects.at_provider()
    cancelled = at_providers.filter(cancel_requested_at__lt=now - UNCONFIRMED_AFTER)
    if text := _listed(cancelled):
        yield bad(f"Cancelled over 10 minutes ago, but not confirmed by the provider: {text}.", REFRESH)
    unconfirmed = Job.objects.filter(pk__in=QueueEntry.objects.live().exclude(unconfirmed_at=None).values("job"))
    if text := _listed(unconfirmed):
        yield bad(
            f"Submitted, but not confirmed by the provider: {text}.",
            f"Check at the provider, then submit again or give up on the page Queue: {full_link('/queue')}",
        )
    if text := _listed(Job.objects.active().filter(metadata__has_key="stray_of")):
        yield warn(f"Extra trainings of a job, not stopped yet: {text}.", REFRESH)
    if text := _listed(_unheard_of(now)):
        yield warn(f"No update for half an hour: {text}.", REFRESH)
    yield ok(f"{at_providers.count()} jobs are at providers.")


def _unheard_of(now: datetime) -> QuerySet[Job]:
    """Return the silent jobs at enabled providers elsewhere, but not at those that are never asked about silent jobs.

    Jobs on this machine are left out: their records say nothing while they train.
    """
    configs = ProviderConfig.of_all([name for name in names() if not get_provider(name).bound_to_machine])
    told = [name for name, config in configs.items() if config.enabled and config.silence_minutes]
    since = now - SILENT_AFTER
    silent = Q(last_synced_at__lt=since) | Q(last_synced_at=None, queued_at__lt=since)
    return Job.objects.at_provider().filter(silent, provider__in=told).exclude(external_id=None)


def _listed(jobs: QuerySet[Job]) -> str:
    """Return the ids of the newest jobs and how many more there are, as text. It is empty without jobs."""
    ids = list(jobs.order_by("-pk").values_list("pk", flat=True)[: SHOWN + 1])
    more = f" and {jobs.count() - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more
