"""The page of a new job, empty or filled in with another job's submission."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render

from jobs.api.config_serializers import ProviderListSerializer
from jobs.configs.examples import EXAMPLES
from jobs.configs.store import find_config, visible_configs
from jobs.dashboard.job_config import masked_json
from jobs.dashboard.job_tabs import job_of
from jobs.dashboard.navigation import page, page_context, part, with_editor
from jobs.dashboard.tag_views import tags_by_team
from jobs.models import Job, Organization, ProviderConfig
from jobs.organizations.settings import FALLBACK_PROVIDER
from jobs.permissions import no_right_to_submit, organizations_of
from jobs.providers import label_of, names
from jobs.providers.hardware_names import hardware_label
from jobs.roles import SUBMITTERS
from jobs.runs.prefill import may_run_again, next_run_of
from jobs.tags.tagging import tags_by_job

NO_ORGANIZATION = "This job was not submitted here, so it can't be run again."
NOT_ALLOWED = "You can't submit jobs for the organization of this job."
#: What a browser without scripts shows in an empty editor.
PLACEHOLDER = '{\n  "model_family": "flux",\n  "max_train_steps": 1000\n}'


@with_editor
@page
def new_job(request: HttpRequest) -> HttpResponse:
    """Render the form. Its script submits to the API; a browser without scripts sends it to `submit-form`."""
    return form_page(request)


def form_page(
    request: HttpRequest, *, filled: QueryDict | None = None, errors: Sequence[str] = (), status: int = 200
) -> HttpResponse:
    """Return the page of a new job, with what was sent before and what is wrong with it.

    Raises PermissionDenied for who may submit nowhere, or not there, and Http404 for a parent that isn't seen.
    """
    around = page_context(request)
    teams = list(organizations_of(request.user, SUBMITTERS).filter(closed_at=None))
    if not teams:
        raise PermissionDenied(no_right_to_submit(request.user))
    context: dict[str, Any] = {
        "teams": [team.name for team in teams],
        "tags": tags_by_team(teams),
        "defaults": json.dumps({team.name: _defaults(team) for team in teams}),
        "providers": dict(ProviderListSerializer({"providers": list(ProviderConfig.of_all(names()).values())}).data),
        "stored": _names_of_stored(request, teams),
        "examples": {example.key: {"name": example.key, "text": example.text} for example in EXAMPLES},
        "example_choices": EXAMPLES,
        "placeholder": PLACEHOLDER,
        "errors": errors,
        "key": token_hex(16),
    }
    if parent := (filled or request.GET).get("parent"):
        context |= _run_again(request, parent)
        context["lost_place"] = _lost_place(context["parent"], context["providers"]["providers"])
    begun = context["begin"]["submission"] if "begin" in context else {}
    context["filled"] = {**begun, **(filled.dict() if filled else {})}
    return render(request, "dashboard/new_job.html", {**around, **context}, status=status)


def _defaults(organization: Organization) -> dict[str, str]:
    """Return the provider and the hardware with which the form begins."""
    return {"provider": organization.default_provider or FALLBACK_PROVIDER, "hardware": organization.default_hardware}


@part
def stored_config(request: HttpRequest) -> HttpResponse:
    """Return a stored config as texts, numbers as they are stored: a browser's own reading would change them."""
    name, organization = request.GET.get("name", ""), request.GET.get("organization", "")
    if "\x00" in name + organization:  # which PostgreSQL takes for no text
        raise Http404
    team = organizations_of(request.user).filter(name=organization).first()
    found = find_config(request.user, name, team) if team else None
    if found is None:
        raise Http404
    dataloader = masked_json(found.dataloader_config) if found.dataloader_config else ""
    return JsonResponse({"config": masked_json(found.config), "dataloader_config": dataloader})


def _names_of_stored(request: HttpRequest, teams: Sequence[Organization]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {team.name: [] for team in teams}
    stored = visible_configs(request.user).filter(organization__in=teams)
    for organization, name in stored.order_by("name").values_list("organization__name", "name"):
        names[organization].append(name)
    return names


def _run_again(request: HttpRequest, parent_id: str) -> dict[str, Any]:
    """Return what the form begins with. Raises Http404, and PermissionDenied for who may not submit there."""
    parent = job_of(request, parent_id)
    if parent.organization is None:
        raise PermissionDenied(NO_ORGANIZATION)
    if not may_run_again(parent, request.user):
        raise PermissionDenied(NOT_ALLOWED)
    begin = next_run_of(parent, request.user)
    submission = begin["submission"]
    texts = {
        "config": masked_json(submission["config"]),
        "dataloader_config": masked_json(submission["dataloader_config"]) if submission["dataloader_config"] else "",
    }
    return {
        "parent": parent,
        "teams": [parent.organization.name],
        "tags": tags_by_team([parent.organization]),
        "ticked_tags": tags_by_job([parent]).get(parent.pk, []),
        "begin": {**begin, "submission": {**submission, **texts}, "dataset": _dataset_of(parent)},
    }


def _lost_place(parent: Job, providers: Sequence[Mapping[str, Any]]) -> str:
    """Return the parent's provider or hardware that isn't offered now; empty: both are.

    The server says it: a sentence that the script added would move the page.
    """
    provider = next((one for one in providers if one["name"] == parent.provider and one["enabled"]), None)
    if provider is None:
        return label_of(parent.provider)
    profile = parent.hardware_profile
    return hardware_label(profile) if profile and profile not in {one["name"] for one in provider["profiles"]} else ""


def _dataset_of(job: Job) -> dict[str, Any] | None:
    upload = job.dataset
    if upload is None or upload.removed_at is not None:
        return None
    return {"id": upload.pk, "name": upload.name, "size": upload.size, "files": upload.files}
