"""The form of a new job, as a browser without scripts sends it."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from rest_framework import exceptions

from approvals.intake import submit
from approvals.submissions import read_submission
from cloudtrain_site.api import MAX_JSON_DEPTH, TOO_DEEP, checked, current_user, is_deeper_than
from cloudtrain_site.errors import sentences_of
from cloudtrain_site.states import Source
from jobs.api.submission_serializers import SubmitBody, SubmitQuery
from jobs.configs.conversion import ConversionError, notation_of, read_as
from jobs.configs.exact import written
from jobs.configs.examples import EXAMPLES
from jobs.dashboard.navigation import with_editor
from jobs.dashboard.new_job_views import form_page

TEXTS = (
    *("config_name", "tracker_run_name", "webhook_url", "organization", "parent", "checkpoint", "idempotency_key"),
    *("max_cost_usd", "fuse_action"),
)
STORED, EXAMPLE = "stored:", "example:"


@with_editor
@never_cache
@login_required
@require_POST
def submit_form(request: HttpRequest) -> HttpResponse:
    """Submit the job and lead to its page, or show the form again with what is wrong."""
    try:
        provider, body = _body(request.POST)
        query = checked(SubmitQuery, {"provider": provider} if provider else {})
        submission = read_submission(
            current_user(request),
            query.get("provider", ""),
            checked(SubmitBody, body),
            source=Source.DASHBOARD,
            idempotency_key="",
        )
        outcome = submit(submission)
    except exceptions.APIException as refusal:
        errors = _sentences(refusal.detail)
        return form_page(request, filled=request.POST, errors=errors, status=refusal.status_code)
    return redirect("job-page", outcome.job.pk)


def _body(form: QueryDict) -> tuple[str, dict[str, Any]]:
    """Return the provider and the submission's body. Raises ValidationError."""
    body: dict[str, Any] = {name: text for name in TEXTS if (text := form.get(name, "").strip())}
    body["tags"] = form.getlist("tags")
    provider, _, body["hardware_profile"] = form.get("place", "").partition(" ")
    start, text = form.get("start", ""), form.get("config", "")
    if start.startswith(STORED):
        body["config_name_to_load"] = start.removeprefix(STORED)
    else:
        example = next((one.text for one in EXAMPLES if start == EXAMPLE + one.key), "")
        body["config"] = _read("config", text if text.strip() else example)
    if form.get("dataloader_config", "").strip():
        body["dataloader_config"] = _read("dataloader_config", str(form["dataloader_config"]))
    return provider, body


def _read(field: str, text: str) -> Any:
    """Return the value of a text of JSON, TOML or YAML. Raises ValidationError."""
    if not text.strip():
        raise exceptions.ValidationError({field: "Add a config."})
    try:
        value = read_as(notation_of(text), text)
    except ConversionError as error:
        raise exceptions.ValidationError({field: str(error)}) from None
    if is_deeper_than(MAX_JSON_DEPTH, value):
        raise exceptions.ValidationError({field: TOO_DEEP})
    return json.loads(written(value))  # plain numbers, which can be copied


def _sentences(detail: Any) -> list[str]:
    """Return the texts of a refusal, each after its field where it has one."""
    return [text.removeprefix("non_field_errors: ") for text in sentences_of(detail, with_fields=True)]
