"""What the tests of dispatch read and change of one entry."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from jobs.models import Job
from jobs.providers.base import ProviderError
from queueing.models import QueueEntry


def state() -> tuple[str, str]:
    return Job.objects.get().status, QueueEntry.objects.get().status


def expire_leases() -> None:
    QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def refusal(**fields: bool) -> ProviderError:
    return ProviderError("connection refused", nothing_created=True, **fields)
