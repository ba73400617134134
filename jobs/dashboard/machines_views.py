"""The page of machines and clusters, for superusers.

Names of nodes, versions and how much other organizations run are the operator's. Submitters need to know why a profile
can't run or a cluster is away: that stands at the choice of a profile, in the list of providers and in a job's reason
to wait. So an organization's admins, who can change nothing about a cluster, don't see this page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from cloudtrain_site.monitoring.machines import process_reports
from jobs.dashboard.navigation import live_page
from jobs.permissions import AnyUser, Team, is_superuser
from jobs.sync.cluster_reports import instance_reports
from jobs.sync.clusters import is_cluster, look_now

#: More are folded; those that take no trainings come first.
NODES_SHOWN = 50


def for_superusers(user: AnyUser, teams: Sequence[Team]) -> int | None:
    """Return whether the page is among the navigation's, see `jobs.extensions.Count`."""
    return 0 if is_superuser(user) else None


def _machines(request: HttpRequest) -> dict[str, Any]:
    if not is_superuser(request.user):
        raise PermissionDenied
    slices = {"nodes_shown": f":{NODES_SHOWN}", "nodes_rest": f"{NODES_SHOWN}:"}
    return {"processes": process_reports(), "instances": instance_reports(), **slices}


machines_page, machines_now = live_page("dashboard/machines.html", "dashboard/_machines.html", _machines)


@never_cache
@require_POST
def refresh_cluster(request: HttpRequest, name: str) -> HttpResponse:
    """Look at a cluster now, unless somebody does or has just done so. The page shows what came of it."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    if not is_superuser(request.user):
        raise PermissionDenied
    if not is_cluster(name):
        raise Http404
    look_now(name)
    return HttpResponse(status=204)
