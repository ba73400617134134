"""The jobs that were made at a provider itself and found there: whose they are."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.urls import reverse

from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Job, ProviderConfig
from jobs.permissions import is_superuser
from jobs.providers import label_of
from jobs.providers.settings import change_settings
from jobs.sync.discovery import organization_for_discovered, unassigned_jobs, where_to_discover

SECTION = "settings-discovered"


@settings_page(SECTION, "GET", "HEAD")
def discovered(page: SettingsPage) -> HttpResponse:
    """Show at which providers the organization gets the jobs that are discovered."""
    own = Job.objects.kept().filter(organization=page.organization, metadata__discovered=True)
    counts = dict(own.order_by().values_list("provider").annotate(Count("pk")))
    superuser = is_superuser(page.user)
    items = [_item(page, config, counts, superuser) for config in ProviderConfig.of_all(where_to_discover()).values()]
    return page.render("settings/discovered.html", {"items": items, "runs_site": superuser})


@settings_page(SECTION, "POST")
def take_discovered(page: SettingsPage, provider: str) -> HttpResponse:
    """Give the organization what is discovered at a provider from now on, and what belongs to nobody yet."""
    if not is_superuser(page.user):
        raise PermissionDenied("Superusers say whose discovered jobs are: the provider's account is the site's.")
    if provider not in where_to_discover():
        raise Http404
    change_settings(provider, {"discovery_organization": page.organization.name}, by=page.user)
    return page.done(f"Jobs that are discovered at {label_of(provider)} belong to {page.organization} from now on.")


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
