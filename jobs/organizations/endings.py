"""Organizations made, closed, reopened and deleted: by superusers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.contrib.admin.utils import NestedObjects
from django.db import models, router
from django.utils import timezone

from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.notices.channels import delete_channels
from cloudtrain_site.notices.models import Channel
from jobs.models import Job, Organization
from jobs.organizations.authority import By, actor_of, check_runs_site, lock_organization
from jobs.organizations.invitations import withdraw_all
from jobs.organizations.members import cancel_jobs
from jobs.signals import organization_closed
from jobs.statuses import ACTIVE, BEFORE_PROVIDER


class RunningJobs(models.TextChoices):
    """What becomes of the jobs that a provider has when their organization is closed. Waiting jobs are cancelled."""

    FINISH = "finish", "Let running jobs continue"
    CANCEL = "cancel", "Cancel running jobs"


def create_organization(name: str, *, by: By) -> Organization:
    """Return a new organization. Raises PermissionDenied, and ValidationError for a name that is taken or none."""
    organization = Organization(name=name)
    with unit_of_work():
        check_runs_site(by)
        organization.full_clean()
        organization.save(force_insert=True)
        record("organization_made", organization, by=actor_of(by), organization=organization)
    return organization


def rename(organization: Organization, name: str, *, by: By) -> bool:
    """Give an organization another name: its addresses change with it. False: it is its name already."""
    with unit_of_work():
        locked = lock_organization(organization)
        check_runs_site(by)
        former = locked.name
        if former == name:
            return False
        locked.name = name
        locked.full_clean()
        locked.save(update_fields=["name"])
        record(
            "organization_renamed",
            locked,
            by=actor_of(by),
            organization=locked,
            before={"name": former},
            after={"name": name},
        )
    organization.name = name
    return True


def close(organization: Organization, *, by: By, running: RunningJobs = RunningJobs.FINISH) -> int:
    """Close an organization: its members see its jobs, and submit none; its waiting jobs are cancelled.

    `running` says what becomes of those that a provider has. Its open invitations end; keys for it submit nothing.
    Returns how many jobs were cancelled. Raises PermissionDenied, and Conflict when it is already closed.
    """
    with unit_of_work():
        locked = lock_organization(organization)
        check_runs_site(by)
        if locked.is_closed:
            raise Conflict(f"{locked} is already closed.")
        # A submission that is being stored holds its membership: it comes first, and is cancelled.
        list(locked.memberships.select_for_update().order_by("pk").values_list("pk"))
        locked.closed_at = timezone.now()
        locked.save(update_fields=["closed_at"])
        concerned = ACTIVE if running == RunningJobs.CANCEL else BEFORE_PROVIDER
        jobs = Job.objects.filter(organization=locked, status__in=concerned)
        cancelled = cancel_jobs(jobs, by, f"{locked} was closed")
        after = {"running": running, "cancelled": cancelled, "invitations": withdraw_all(locked)}
        organization_closed.send(Organization, organization=locked)
        record("organization_closed", locked, by=actor_of(by), organization=locked, after=after)
    organization.closed_at = locked.closed_at
    return cancelled


def reopen(organization: Organization, *, by: By) -> None:
    """Open a closed organization again; its members have the roles they had. Raises PermissionDenied and Conflict."""
    with unit_of_work():
        locked = lock_organization(organization)
        check_runs_site(by)
        if not locked.is_closed:
            raise Conflict(f"{locked} is already open.")
        locked.closed_at = None
        locked.save(update_fields=["closed_at"])
        record("organization_reopened", locked, by=actor_of(by), organization=locked)
    organization.closed_at = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting an organization would take with it, and what keeps it from being deleted: numbers by kind."""

    takes: dict[str, int]
    kept_by: dict[str, int]
    is_closed: bool

    @property
    def objection(self) -> str:
        """Return why it can't be deleted now; empty: it can."""
        if self.kept_by:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.kept_by.items())
            instead = "It stays closed." if self.is_closed else "It can only be closed."
            return f"It has {kinds}: their history and their costs stay. {instead}"
        return "" if self.is_closed else "Close it first."


def what_deletion_takes(organization: Organization) -> Deletion:
    # The admin's collector goes on where something refuses the deletion, and fetches what could be deleted at once.
    collector = NestedObjects(using=router.db_for_write(Organization))
    collector.collect([organization])
    takes = Counter(_kind(type(row)) for rows in collector.data.values() for row in rows if row != organization)
    # The notices know an organization by its number alone.
    if count := Channel.objects.filter(organization_id=organization.pk).count():
        takes["notice channels"] = count
    kept_by = Counter(_kind(type(row)) for row in collector.protected)
    return Deletion(dict(sorted(takes.items())), dict(sorted(kept_by.items())), organization.is_closed)


def delete_organization(organization: Organization, *, by: By) -> Deletion:
    """Delete a closed organization that has no jobs and no uploads. Returns what went with it.

    Raises PermissionDenied, and Conflict with the reason why it stays.
    """
    with unit_of_work():
        locked = lock_organization(organization)
        check_runs_site(by)
        deletion = what_deletion_takes(locked)
        if deletion.objection:
            raise Conflict(f"{locked} can't be deleted. {deletion.objection}")
        record("organization_deleted", locked, by=actor_of(by), organization=locked, before=deletion.takes)
        delete_channels(locked.pk)
        locked.delete()
    return deletion


def _kind(model: type[models.Model]) -> str:
    return str(model._meta.verbose_name_plural)
