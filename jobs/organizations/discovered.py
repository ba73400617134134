"""Jobs that were made at a provider itself: taken for an organization by superusers, given to its members by admins."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import Http404

from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.costs import ledger
from jobs.models import Job, JobQuerySet, Organization
from jobs.organizations.authority import By, actor_of, check_administers, check_runs_site, lock_organization
from jobs.organizations.members import people_in
from jobs.runs.numbers import number_at_commit


def unowned_jobs(organization: Organization | None) -> JobQuerySet:
    """Return the discovered jobs of the organization that belong to no member, newest first; None: of none at all."""
    jobs = Job.objects.kept().filter(organization=organization, submitted_by=None, metadata__discovered=True)
    return jobs.select_related("organization").order_by("-id")


def take_job(job: Job, organization: Organization, *, by: By) -> None:
    """Give a discovered job of no organization to this one.

    Raises PermissionDenied for who is no superuser, Http404, and Conflict for a job that belongs to one.
    """
    with unit_of_work():
        organization = lock_organization(organization)
        check_runs_site(by)
        current = _lock(job)
        if current.organization_id is not None:
            raise Conflict("The job belongs to an organization already.", code="already_assigned")
        current.organization = organization
        _assign(current, by, before={"organization": None}, after={"organization": organization.name})
    job.organization = organization


def give_to_member(job: Job, user: User, *, by: By) -> None:
    """Let a discovered job of an organization be a member's, as if the member had submitted it.

    Raises PermissionDenied for who doesn't administer the organization, Http404 for somebody who is no member, and
    Conflict for a job that is somebody's.
    """
    if job.organization is None:
        raise Conflict("The job belongs to no organization: a superuser gives it to one first.")
    with unit_of_work():
        organization = lock_organization(job.organization)
        check_administers(by, organization)
        if not people_in(organization).filter(user=user).exists():
            raise Http404
        current = _lock(job)
        if current.submitted_by_id is not None or current.organization_id != organization.pk:
            raise Conflict("Somebody else has already assigned the job.", code="already_assigned")
        current.submitted_by = user
        _assign(current, by, before={"user": None}, after={"user": user.get_username()})
    job.submitted_by = user


def _lock(job: Job) -> Job:
    """Return the job as it is now. Raises Http404 for one that was deleted, or was submitted here."""
    found = Job.objects.kept().filter(pk=job.pk, metadata__discovered=True)
    current = found.select_for_update(of=("self",), no_key=True).first()
    if current is None:
        raise Http404
    return current


def _assign(job: Job, by: By, *, before: dict[str, str | None], after: dict[str, str | None]) -> None:
    Job.objects.filter(pk=job.pk).update(organization=job.organization, submitted_by=job.submitted_by)
    assert job.organization is not None
    number_at_commit(job)
    ledger.assign([job.pk], job.organization, job.submitted_by)
    record("job_assigned", job, by=actor_of(by), organization=job.organization, before=before, after=after)
    job.record_note(actor_of(by), current_source(), f"assigned to {next(iter(after.values()))}")
