"""What has to be done for jobs whether or not the poller runs: webhooks get lost, and processes are killed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.database.sqlite_analyze import refresh_when_grown
from cloudtrain_site.states import Source
from jobs import maintenance
from jobs.datasets import store
from jobs.models import Job, ProviderConfig
from jobs.statuses import AT_PROVIDER
from jobs.sync import circuit_breaker, refresh
from jobs.webhooks import apply, inbox

logger = logging.getLogger("simpletuner.cloud.webhooks")


def run() -> dict[str, int]:
    """One round: silent jobs, cancellations that are not confirmed, logs that are due, deliveries left over."""
    return {
        "refreshed": check_silent(),
        "cancels": press_cancels(),
        "logs": refresh.capture_logs(source=Source.LOOP),
        "deliveries": apply.apply_leftovers(),
        "trimmed": inbox.trim(),
        "datasets": store.sweep(),
        "cleared": maintenance.sweep(),
        "counted": refresh_when_grown(),
    }


def silent_jobs(config: ProviderConfig) -> Sequence[Job]:
    """The jobs of a provider with a webhook address that were not heard of for as long as its settings bear."""
    quiet_since = timezone.now() - timedelta(minutes=config.silence_minutes)
    silent = Q(last_synced_at__lt=quiet_since) | Q(last_synced_at=None, queued_at__lt=quiet_since)
    jobs = Job.objects.filter(silent, provider=config.pk, status__in=AT_PROVIDER).exclude(external_id=None)
    return list(jobs.defer("config", "dataloader_config").order_by("id"))


def check_silent() -> int:
    """Ask about silent jobs all the same. When that moves one, webhooks don't arrive as they should."""
    refreshed = 0
    watched = ProviderConfig.objects.filter(enabled=True, silence_minutes__gt=0).exclude(webhook_url="")
    for config in watched:
        silent = silent_jobs(config)
        # What was made elsewhere has no webhook of ours: its news say nothing about them.
        outcome = refresh.refresh([job for job in silent if job.submission_marker], source=Source.LOOP)
        others = refresh.refresh([job for job in silent if not job.submission_marker], source=Source.LOOP)
        refreshed += outcome.refreshed + others.refreshed
        if outcome.moved:
            _note_missed(config, outcome.moved)
    return refreshed


def _note_missed(config: ProviderConfig, moved: int) -> None:
    first = ProviderConfig.objects.filter(pk=config.pk, webhooks_missed_at=None).update(
        webhooks_missed_at=timezone.now()
    )
    logger.log(
        logging.WARNING if first else logging.DEBUG,
        "Webhooks are not arriving: jobs changed and no delivery told of it",
        extra={"provider": config.pk, "jobs": moved, "webhook_url": config.webhook_url},
    )


def press_cancels() -> int:
    """Ask once more for the cancellations that no provider has confirmed, and read what came of it."""
    waiting = list(
        Job.objects.filter(status__in=AT_PROVIDER, cancel_requested_at__isnull=False)
        .exclude(external_id=None)
        .defer("config", "dataloader_config")
        .order_by("?")  # should there be more than one round manages, none is always the last
    )
    out = {row.pk for row in ProviderConfig.objects.all() if circuit_breaker.is_out(row, timezone.now())}
    asked = refresh.cancel_at_providers([job for job in waiting if job.provider not in out])
    refresh.refresh(asked, source=Source.LOOP)
    return len(asked)
