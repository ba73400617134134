"""The verbs of the queue's operators: limits, pause, drain. Each change is recorded, and the next pass applies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.utils import timezone

from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor
from jobs.models import Job, Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of, role_in
from jobs.providers import label_of, names
from jobs.roles import Role
from jobs.statuses import BEFORE_PROVIDER, JobStatus
from queueing import claims, dispatch, passes
from queueing.limits import limits_of_file, queue_state
from queueing.models import ProviderLimit, QueueEntry, QueueEntryQuerySet

GENERAL = ("max_running", "max_running_per_user", "max_running_per_organization", "fair_share", "paused")


class LimitError(ValueError):
    """A limit that can't be set; the message says why."""


@dataclass(frozen=True, slots=True)
class ChangedBy:
    actor: Actor
    source: str
    reason: str = ""


def may_run_queue(user: AnyUser) -> bool:
    """Whether `user` may change what affects everybody's jobs: a superuser, or an admin of every organization."""
    if is_superuser(user):
        return True
    own = organizations_of(user, (Role.ADMIN,))
    return own.exists() and not Organization.objects.exclude(pk__in=own.values("pk")).exists()


def may_limit(user: AnyUser, organization: Organization) -> bool:
    """Whether `user` may set the organization's own limit: its admins may."""
    return role_in(user, organization) == Role.ADMIN


def set_general(values: Mapping[str, Any], by: ChangedBy) -> int:
    """Set some of the columns in GENERAL. Returns how many of them changed."""
    with unit_of_work():
        return _apply(queue_state(), {name: values[name] for name in GENERAL if name in values}, by)


def set_paused(paused: bool, by: ChangedBy) -> bool:
    """Pause or resume the queue. False: it was so already."""
    return bool(set_general({"paused": paused}, by))


def set_provider(provider: str, values: Mapping[str, Any], by: ChangedBy) -> int:
    """Set `max_running` or `drained` of a provider. Returns how many changed. Raises LimitError."""
    if provider not in names():
        raise LimitError(f"There is no provider “{provider}”. There are: {', '.join(names())}.")
    if provider in limits_of_file() and "max_running" in values:
        where = "this machine runs" if provider == "local" else f"{label_of(provider)} runs"
        raise LimitError(f"Set how many trainings {where} in the configuration file: providers.{provider}.max_running.")
    with unit_of_work():
        row, _ = ProviderLimit.objects.get_or_create(pk=provider)
        return _apply(row, values, by)


def set_organization(organization: Organization, max_running: int | None, by: ChangedBy, *, may_exceed: bool) -> int:
    """Set the organization's own limit; None: the general one. Returns whether it changed, as 0 or 1.

    Raises LimitError for more than the general limit without `may_exceed`.
    """
    general = queue_state().max_running_per_organization
    if not may_exceed and (max_running or 0) > general:
        raise LimitError(f"Only a superuser can allow more than the general limit of {general} for an organization.")
    with unit_of_work():
        return _apply(organization, {"max_running": max_running}, by)


def set_own_limit(organization: Organization, max_running: int | None, user: User) -> None:
    """Set the organization's own limit as `user` over the API. Raises Django's ValidationError, by field."""
    by = ChangedBy(Actor.of(user), current_source())
    try:
        set_organization(organization, max_running, by, may_exceed=is_superuser(user))
    except LimitError as error:
        raise ValidationError({"max_running": str(error)}) from error


def _apply(row: Model, values: Mapping[str, Any], by: ChangedBy) -> int:
    """Write what differs, with its audit record, and have a pass apply it."""
    # Locked, so that of two changes at once the second one's record says what the first one wrote.
    current = type(row)._default_manager.select_for_update().get(pk=row.pk)
    changed = {name: new for name, new in values.items() if getattr(current, name) != new}
    if not changed:
        return 0
    type(row)._default_manager.filter(pk=row.pk).update(**changed)
    for name, new in changed.items():
        setattr(row, name, new)
    record(
        "limit_changed",
        row,
        by=by.actor,
        organization=row if isinstance(row, Organization) else None,
        before={name: getattr(current, name) for name in changed},
        after={**changed, "reason": by.reason} if by.reason else changed,
    )
    passes.rules_changed()
    return len(changed)


#: A longer statement would keep SQLite's other writers waiting.
ROWS_PER_DELETE = 1000


def clean_up(entries: QueueEntryQuerySet, days: int) -> int:
    """Delete those of `entries` that ended more than `days` days ago. Returns how many."""
    old = entries.filter(finished_at__lt=timezone.now() - timedelta(days=days)).order_by("finished_at")
    deleted = 0
    while batch := list(old.values_list("pk", flat=True)[:ROWS_PER_DELETE]):
        deleted += QueueEntry.objects.filter(pk__in=batch).delete()[0]
    return deleted


def resubmit(entry: QueueEntry, by: ChangedBy) -> bool:
    """Submit a job again that the provider doesn't have. False: it is not, or no longer, unconfirmed."""
    with unit_of_work():
        # A webhook may have confirmed it just now.
        if not Job.objects.filter(pk=entry.job_id, status__in=BEFORE_PROVIDER).exists():
            return False
        if not claims.resubmit(entry, actor=by.actor, source=by.source, reason=by.reason):
            return False
        passes.request_pass()
    return True


def end_unconfirmed(entry: QueueEntry, by: ChangedBy) -> bool:
    """End the job and its entry, and free the slot. False: it is not, or no longer, unconfirmed."""
    if entry.unconfirmed_at is None:
        return False
    job = entry.job
    to = JobStatus.FAILED if job.cancel_requested_at is None else JobStatus.CANCELLED
    reason = f"given up, unconfirmed: {by.reason}"
    with unit_of_work():
        if not dispatch.end_unsubmitted(entry, job, to, reason, actor=by.actor, source=by.source):
            return False
        passes.request_pass()
    return True
