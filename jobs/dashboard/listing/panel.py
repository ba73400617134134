"""The form of the list's filters, fetched when somebody opens it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest

from jobs.costs.prices import rates_of
from jobs.dashboard.listing.periods import PERIODS
from jobs.dashboard.tag_views import offered_tags
from jobs.finding.orders import SORTS
from jobs.models import ProviderConfig
from jobs.permissions import Team
from jobs.providers import label_of, names
from jobs.statuses import GROUP_LABELS

#: More are no list to choose from; a name can be typed.
MOST_PEOPLE = 200
#: Filters without a field of their own, which the form keeps.
HIDDEN = ("search", "job_type", "cost_from", "cost_to", "columns")


def panel_context(request: HttpRequest, query: Mapping[str, Any], teams: Sequence[Team]) -> dict[str, Any]:
    """Return the choices, and what the query has chosen."""
    people = User.objects.filter(memberships__organization__in=[team.id for team in teams]).order_by("username")
    hardware = {name for provider in ProviderConfig.objects.all() for name in rates_of(provider)}
    return {
        "query": query,
        "statuses": GROUP_LABELS.items(),
        "providers": [(name, label_of(name)) for name in names()],
        "teams": [team.name for team in teams],
        "tags": offered_tags(teams, query["organization"]),
        "people": people.values_list("username", flat=True).distinct()[:MOST_PEOPLE],
        "hardware": sorted(hardware),
        "periods": PERIODS,
        "sorts": SORTS,
        "names_zone": request.GET.get("zone", ""),
        "kept": [(name, value) for name in HIDDEN for value in request.GET.getlist(name) if value],
    }
