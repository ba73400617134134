"""A circuit breaker: a provider that fails is not asked for a while by any process, and reported once."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from jobs.models import ProviderConfig
from jobs.providers.base import ProviderError

logger = logging.getLogger("simpletuner.cloud.providers")

FIRST_PAUSE = timedelta(seconds=15)
MAX_PAUSE = timedelta(minutes=5)


def is_open(config: ProviderConfig, now: datetime) -> bool:
    return config.outage_until is not None and config.outage_until > now


def record_failure(name: str, error: ProviderError) -> None:
    """Open the breaker. The first failure logs a warning; each further one doubles the pause, up to MAX_PAUSE."""
    config, _ = ProviderConfig.objects.get_or_create(name=name)
    pause = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(config.outage_failures, 10))
    if error.retry_after is not None:
        pause = max(pause, min(timedelta(seconds=error.retry_after), MAX_PAUSE))
    unchanged = ProviderConfig.objects.filter(pk=name, outage_failures=config.outage_failures)
    won = unchanged.update(outage_failures=F("outage_failures") + 1, outage_until=timezone.now() + pause)
    level = logging.WARNING if won and config.outage_failures == 0 else logging.DEBUG
    logger.log(
        level,
        "Provider could not be asked",
        extra={"provider": name, "error": str(error), "pause_seconds": pause.total_seconds()},
    )


def record_success(config: ProviderConfig) -> None:
    if not config.outage_failures:
        return
    if ProviderConfig.objects.filter(pk=config.pk, outage_failures__gt=0).update(outage_failures=0, outage_until=None):
        logger.info("Provider answers again", extra={"provider": config.pk, "failures": config.outage_failures})
