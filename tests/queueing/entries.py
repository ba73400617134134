"""What the tests of dispatch read and change of the queue's entries."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs.models import Job
from jobs.providers.base import ProviderError
from jobs.roles import Role
from queueing import claims, dispatch
from queueing.models import QueueEntry


def state() -> tuple[str, str]:
    return Job.objects.get().status, QueueEntry.objects.get().status


def enqueue(job: Job) -> None:
    """Put it into the queue as a submission of a researcher does that no rule holds."""
    claims.enqueue(job, role=Role.RESEARCHER, held=False, actor=SYSTEM, source=Source.API)


def expire_leases() -> None:
    QueueEntry.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now() - timedelta(seconds=1))


def dispatch_a_lease_later() -> None:
    """Do what the next pass does when the leases of now have run out."""
    expire_leases()
    dispatch.run_pass()


def refusal(**fields: bool) -> ProviderError:
    return ProviderError("connection refused", nothing_created=True, **fields)
