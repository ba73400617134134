"""One refresh of a provider's jobs serves everybody who asks for one at the same moment, in whatever process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.database.connections import lend_connection
from jobs.models import Job, ProviderConfig
from jobs.sync import circuit_breaker, refresh

#: Whoever refreshes holds others back for at most this long, should it be killed.
LEASE = timedelta(seconds=20)
LOOK_SECONDS = 0.1


def refresh_together(jobs: Sequence[Job], *, source: str) -> refresh.Refreshed:
    """Have the providers of `jobs` asked about all of their active jobs, unless somebody is just doing that: then wait
    for the end of it. What is returned tells of `jobs` alone.
    """
    names = sorted({job.provider for job in jobs})
    for name in names:
        if _claim(name):
            try:
                refresh.refresh(refresh.active_jobs(name), source=source)
            finally:
                ProviderConfig.objects.filter(pk=name).update(refresh_until=None)
        else:
            _wait_for(name)
    failed = _failed_among(jobs, names)
    return refresh.Refreshed(len(jobs) - failed, failed)


def _claim(name: str) -> bool:
    ProviderConfig.objects.get_or_create(name=name)
    now = timezone.now()
    free = Q(refresh_until=None) | Q(refresh_until__lte=now)
    return bool(ProviderConfig.objects.filter(free, pk=name).update(refresh_until=now + LEASE))


def _wait_for(name: str) -> None:
    until = time.monotonic() + LEASE.total_seconds()
    under_way = ProviderConfig.objects.filter(pk=name, refresh_until__isnull=False)
    while time.monotonic() < until and under_way.exists():
        lend_connection()
        time.sleep(LOOK_SECONDS)


def _failed_among(jobs: Sequence[Job], names: Sequence[str]) -> int:
    now = timezone.now()
    out = {row.pk for row in ProviderConfig.objects.filter(pk__in=names) if circuit_breaker.is_out(row, now)}
    asked = [job.pk for job in jobs if job.provider not in out]
    wrong = Job.objects.filter(pk__in=asked).exclude(sync_error="").count()
    return len(jobs) - len(asked) + wrong
