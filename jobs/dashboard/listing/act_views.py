"""One act for several jobs of the list: first what it would do, then what it did, each job by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from secrets import token_urlsafe
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from rest_framework.exceptions import APIException

from cloudtrain_site.api import current_user
from cloudtrain_site.errors import sentences_of
from cloudtrain_site.limits.pages import within_limits
from cloudtrain_site.wording.values import money
from jobs.dashboard.navigation import for_scripts
from jobs.dashboard.tag_views import offered_tags
from jobs.extensions import ListAct, list_acts
from jobs.models import Job
from jobs.permissions import listed_jobs_of, teams_of

#: Each is a transaction of its own.
MOST = 100


@never_cache
@require_http_methods(["GET", "POST"])
@within_limits
@for_scripts
def chosen_jobs_act(request: HttpRequest, name: str) -> HttpResponse:
    """Render what the act would do to the chosen jobs; with POST, do it, and render what came of it."""
    act = list_acts.get(name)
    if act is None:
        raise Http404
    parameters = request.POST if request.method == "POST" else request.GET
    ids = list(dict.fromkeys(parameters.getlist("id")))[:MOST]
    found = (
        listed_jobs_of(request.user)
        .filter(pk__in=[one for one in ids if one.isalnum()])
        .select_related("organization", "submitted_by")
    )
    by_id = found.in_bulk()
    jobs = [by_id[job_id] for job_id in ids if job_id in by_id]
    objections = act.objections(jobs, current_user(request))
    context = {"act": act, "name": name, "missing": len(ids) - len(jobs)}
    if request.method == "POST":
        return render(request, "dashboard/_act_done.html", {**context, **_do(act, jobs, objections, request)})
    return render(request, "dashboard/_act_question.html", {**context, **_question(act, jobs, objections, request)})


def _question(act: ListAct, jobs: Sequence[Job], objections: Mapping[str, str], request: HttpRequest) -> dict[str, Any]:
    possible = [job for job in jobs if job.pk not in objections]
    return {
        "possible": possible,
        "refused": [(job, objections[job.pk]) for job in jobs if job.pk in objections],
        "sum": _sum_of(act, possible),
        "tags": offered_tags(teams_of(request.user), "") if act.has_tag else [],
        # The same form sent twice is the same act.
        "key": token_urlsafe(12),
    }


def _sum_of(act: ListAct, jobs: Sequence[Job]) -> str:
    """Return in words what the jobs cost together, or will."""
    if act.is_costly:
        known = [job.estimated_cost_usd for job in jobs if job.estimated_cost_usd is not None]
        more = ", and some can’t be estimated" if len(known) < len(jobs) else ""
        return f"Estimated {money(sum(known, Decimal(0)))} in total{more}."
    more = ", and the cost of some is not known" if any(job.cost_doubt for job in jobs) else ""
    return f"Cost so far: {money(sum((job.cost_usd for job in jobs), Decimal(0)))} in total{more}."


def _do(act: ListAct, jobs: Sequence[Job], objections: Mapping[str, str], request: HttpRequest) -> dict[str, Any]:
    fields = {key: str(request.POST.get(key, "")) for key in ("tag", "remove", "key")}
    done, failed = [], []
    for job in jobs:
        problem = objections.get(job.pk) or _problem(act, job, request, fields)
        if problem:
            failed.append((job, problem))
        else:
            done.append(job)
    return {"done": done, "failed": failed}


def _problem(act: ListAct, job: Job, request: HttpRequest, fields: Mapping[str, str]) -> str:
    """Do it to one job. Returns why that was refused; empty: it is done."""
    try:
        act.do(job, current_user(request), fields)
    except ValidationError as error:
        return " ".join(error.messages)
    except PermissionDenied as error:
        return str(error)
    except APIException as error:
        return " ".join(sentences_of(error.detail))
    return ""
