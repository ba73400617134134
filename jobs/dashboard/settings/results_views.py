"""What an organization's runs left here: how much room it takes, what stays, and what will go."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpResponse

from cloudtrain_site.conf.retention import as_text
from cloudtrain_site.enterprise import config_in_force
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Organization, StoredOutput
from jobs.outputs.retention import GB, usage_of

SECTION = "settings-results"
#: Of each list.
ROWS_SHOWN = 100


@settings_page(SECTION, "GET", "HEAD")
def results(page: SettingsPage) -> HttpResponse:
    rows = _rows(page.organization)
    context = {
        "usage": usage_of(page.organization.pk),
        "rules": _rules(),
        "room": (config_in_force().retention.outputs_gb or 0) * GB,
        "going": rows.exclude(remove_at=None).order_by("remove_at")[:ROWS_SHOWN],
        "largest": rows.filter(size__gt=0).order_by("-size")[:ROWS_SHOWN],
    }
    return page.render("settings/results.html", context)


def _rows(organization: Organization) -> QuerySet[StoredOutput]:
    rows = StoredOutput.objects.filter(job__organization=organization, job__deleted_at=None)
    return rows.select_related("job").defer("job__config", "job__dataloader_config", "job__sealed")


def _rules() -> list[str]:
    """Return what the operator set, as sentences; none: everything stays."""
    settings = config_in_force().retention
    found = []
    if settings.results is not None:
        found.append(f"The results of a run are kept for {as_text(settings.results)} from its end on.")
    if settings.outputs_gb is not None:
        found.append(f"Each organization keeps {settings.outputs_gb:,} GB at most: its oldest runs are removed first.")
    if settings.checkpoints is not None:
        found.append(f"Of each ended run, the newest {settings.checkpoints} checkpoints are kept.")
    if found:
        found.append(f"Each removal is announced {as_text(settings.announced)} before. Pinned results stay.")
    return found
