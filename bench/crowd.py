"""A crowd in front of the queue: its people, what waits for them, what has ended, the limits, and a provider."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any, TypeVar

USERS, ORGANIZATIONS = 1000, 50


P = TypeVar("P", bound="InstantProvider")


class InstantProvider:
    """Takes everything at once, and notes when it was asked."""

    name = label = "instant"
    once_per_marker = bound_to_machine = False

    def __init__(self) -> None:
        self.called_at: dict[str, float] = {}

    async def submit(self, spec: Any) -> Any:
        from jobs.providers.base import Snapshot
        from jobs.statuses import JobStatus

        self.called_at[spec.job_id] = time.time()
        return Snapshot(external_id=spec.job_id, status=JobStatus.QUEUED)


def add_provider(provider: P) -> P:
    """Add it to the real ones: the queue starts nothing at a provider that there is not."""
    from jobs import providers

    providers._PROVIDERS = {**providers._PROVIDERS, provider.name: lambda: provider}
    return provider


def make_people() -> tuple[list[int], list[int]]:
    """The users and organizations. Each user belongs to one; a fiftieth of all to each."""
    from django.contrib.auth.models import User

    from jobs.models import Organization

    organizations = Organization.objects.bulk_create(Organization(name=f"org-{n}") for n in range(ORGANIZATIONS))
    users = User.objects.bulk_create(User(username=f"user-{n}") for n in range(USERS))
    return [user.pk for user in users], [organization.pk for organization in organizations]


def make_waiting(count: int, users: list[int], organizations: list[int]) -> None:
    """Waiting entries of everybody in turn, of four priorities, a second apart."""
    from datetime import timedelta

    from django.utils import timezone

    from jobs.models import Job
    from queueing.models import QueueEntry
    from queueing.policy import turn_of

    start = timezone.now() - timedelta(seconds=count)
    for first in range(0, count, 5000):
        numbers = range(first, min(first + 5000, count))
        jobs = Job.objects.bulk_create(
            Job(
                provider="instant",
                config_name=f"job-{n}",
                correlation_id="bench",
                organization_id=organizations[n % ORGANIZATIONS],
                submitted_by_id=users[n % USERS],
            )
            for n in numbers
        )
        QueueEntry.objects.bulk_create(
            QueueEntry(
                job=job,
                organization_id=job.organization_id,
                user_id=job.submitted_by_id,
                provider=job.provider,
                priority=n % 4 * 10,
                needs_usd=Decimal(n % 7),
                enqueued_at=start + timedelta(seconds=n),
                turn=turn_of(start + timedelta(seconds=n), n % 4 * 10),
            )
            for n, job in zip(numbers, jobs, strict=True)
        )


def make_finished(count: int) -> None:
    """Finished entries, copied in the database until there are enough."""
    from django.db import connection
    from django.utils import timezone

    from jobs.models import Job
    from queueing.models import QueueEntry

    fields = {"status": "completed", "finished_at": timezone.now(), "turn": 0.0, "provider": "instant"}
    QueueEntry.objects.bulk_create(QueueEntry(job=Job.objects.all()[0], **fields) for _ in range(1000))
    names = [field.column for field in QueueEntry._meta.concrete_fields if not field.generated]
    columns = ", ".join(name for name in names if name != "id")
    with connection.cursor() as cursor:
        for _ in range(0, count - 1000, 1000):
            cursor.execute(
                f"INSERT INTO queueing_queueentry ({columns}) SELECT {columns} FROM queueing_queueentry "
                "WHERE finished_at IS NOT NULL LIMIT 1000"
            )
        cursor.execute("ANALYZE")


def set_limits(total: int, per_user: int, per_organization: int) -> None:
    from queueing.models import QueueState

    limits = {"max_running": total, "max_running_per_user": per_user, "max_running_per_organization": per_organization}
    QueueState.objects.update_or_create(pk=1, defaults=limits)
