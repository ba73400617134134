"""The jobs that were made at a provider itself and found there: whose they are."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.urls import reverse

from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.states import Actor
from jobs import lifecycle
from jobs.dashboard.rows import make_rows
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Job, Organization, ProviderConfig
from jobs.organizations.discovered import give_to_member, take_job, unowned_jobs
from jobs.organizations.members import find_member, people_in
from jobs.permissions import is_superuser
from jobs.providers import label_of
from jobs.providers.settings import change_settings
from jobs.sync.discovery import organization_for_discovered, unassigned_jobs, where_to_discover

SECTION = "settings-discovered"
#: The page shows no more: what is assigned makes room for the next ones.
SHOWN = 50


@settings_page(SECTION, "GET", "HEAD")
def discovered(page: SettingsPage) -> HttpResponse:
    """Show at which providers the organization gets the jobs that are discovered, and those that are nobody's yet."""
    own = Job.objects.kept().filter(organization=page.organization, metadata__discovered=True)
    counts = dict(own.order_by().values_list("provider").annotate(Count("pk")))
    superuser = is_superuser(page.user)
    context = {
        "items": [
            _item(page, config, counts, superuser) for config in ProviderConfig.of_all(where_to_discover()).values()
        ],
        "runs_site": superuser,
        "unowned": _rows(page, page.organization),
        "of_nobody": _rows(page, None) if superuser else [],
        "people": people_in(page.organization).order_by("user__username").values_list("user__username", flat=True),
        "shown": SHOWN,
    }
    return page.render("settings/discovered.html", context)


def _rows(page: SettingsPage, organization: Organization | None) -> list[Any]:
    jobs = unowned_jobs(organization).select_related("submitted_by").with_beginnings()
    return make_rows(list(jobs[:SHOWN]), page.user)


@settings_page(SECTION, "POST")
def take_discovered(page: SettingsPage, provider: str) -> HttpResponse:
    """Give the organization what is discovered at a provider from now on, and what belongs to nobody yet."""
    if not is_superuser(page.user):
        raise PermissionDenied("Only superusers assign discovered jobs to organizations.")
    if provider not in where_to_discover():
        raise Http404
    change_settings(provider, {"discovery_organization": page.organization.name}, by=page.user)
    return page.done(f"Jobs that are discovered at {label_of(provider)} belong to {page.organization} from now on.")


@settings_page(SECTION, "POST")
def take_one(page: SettingsPage, job_id: str) -> HttpResponse:
    """Give the organization one job that belongs to none."""
    if not is_superuser(page.user):
        raise Http404
    job = _find(None, job_id)
    take_job(job, page.organization, by=page.user)
    return page.done(f"The job {job.config_name} belongs to {page.organization} now.")


@settings_page(SECTION, "POST")
def assign(page: SettingsPage, job_id: str) -> HttpResponse:
    """Let a job of the organization be a member's."""
    job, member = _find(page.organization, job_id), find_member(page.organization, page.request.POST.get("user", ""))
    give_to_member(job, member.user, by=page.user)
    return page.done(f"The job {job.config_name} is {member.user.get_username()}’s now.")


@settings_page(SECTION, "POST")
def discard(page: SettingsPage, job_id: str) -> HttpResponse:
    """Delete an ended job that nobody here wants."""
    job = _find(page.organization, job_id)
    if not lifecycle.delete(job, actor=Actor.of(page.user), source=current_source()):
        return page.refused(f"The job {job.config_name} has not ended. Cancel it on its page first.")
    return page.done(f"The job {job.config_name} was deleted. Its cost stays counted.")


def _find(organization: Organization | None, job_id: str) -> Job:
    job = None if "\x00" in job_id else unowned_jobs(organization).filter(pk=job_id).first()
    if job is None:
        raise Http404
    return job


def _item(page: SettingsPage, config: ProviderConfig, counts: dict[str, int], superuser: bool) -> dict[str, Any]:
    owner = organization_for_discovered(config)
    return {
        "name": config.name,
        "label": label_of(config.name),
        "is_own": owner == page.organization,
        # Another organization's name is its own affair.
        "owner": owner.name if owner and superuser else "",
        "count": counts.get(config.name, 0),
        "unassigned": unassigned_jobs(config.name).count() if superuser else 0,
        "jobs": f"{reverse('dashboard')}?provider={config.name}&organization={page.organization.name}",
    }
