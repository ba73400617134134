"""The page on which two to five jobs stand side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework.exceptions import ValidationError

from cloudtrain_site.errors import Conflict, sentences_of
from jobs.dashboard.navigation import page, page_context, part
from jobs.dashboard.results_views import file_address
from jobs.dashboard.rows import make_rows
from jobs.models import Job
from jobs.outputs.folder import NotFoundError
from jobs.outputs.gallery import Gallery, gallery_of, prompt_order
from jobs.outputs.store import listing_of
from jobs.outputs.thumbnails import LARGE, request_thumbnails
from jobs.permissions import AnyUser
from jobs.runs.changes import LABELS, setting_text
from jobs.runs.compare import ComparedJob, Comparison, chosen_jobs, compare

#: What a table cell has without a value.
NONE = "–"
LOSS_LABELS = {"loss": "loss", "validation_loss": "validation loss"}


@page
def compare_page(request: HttpRequest) -> HttpResponse:
    around = page_context(request)
    try:
        jobs = _chosen(request)
    except ValidationError as error:
        problem = " ".join(sentences_of(error.detail))
        return render(request, "dashboard/compare.html", {**around, "problem": problem}, status=400)
    comparison = compare(jobs)
    context = {
        **around,
        "comparison": comparison,
        **result_of(comparison, request.user),
        "differences": [
            (one.path, LABELS.get(one.path), [_setting(one.path, value) for value in one.values])
            for one in comparison.differences
        ],
        "more": comparison.differences_total - len(comparison.differences),
        "figures": {name for one in comparison.jobs for name, points in one.curves.series.items() if points},
        "is_being_read": any(one.is_being_read for one in comparison.jobs),
        "address": f"{reverse('job-compare')}?{urlencode({'id': [job.pk for job in jobs]}, doseq=True)}",
        "by_time": request.GET.get("by") == "time",
        "query": request.GET.urlencode(),
        **pictures_of(jobs, request.GET.get("prompt")),
    }
    return render(request, "dashboard/compare.html", context)


@part
def compare_part(request: HttpRequest, name: str) -> HttpResponse:
    """The table of results, or the pictures, for a page of jobs of which some still run."""
    try:
        jobs = _chosen(request)
    except ValidationError as error:
        raise Http404 from error
    if name == "result":
        return render(request, "dashboard/_compare_result.html", result_of(compare(jobs), request.user))
    if name != "pictures":
        raise Http404
    pictures = pictures_of(jobs, request.GET.get("prompt"))
    context = {**pictures, "columns": columns_of(jobs, request.user), "by_time": request.GET.get("by") == "time"}
    return render(request, "dashboard/_compare_pictures.html", context)


def _chosen(request: HttpRequest) -> list[Job]:
    """Return the jobs that the address names. Raises Http404 and ValidationError."""
    try:
        return chosen_jobs(request.user, request.GET.getlist("id"))
    except Conflict as error:
        raise Http404 from error


def result_of(comparison: Comparison, reader: AnyUser) -> dict[str, Any]:
    jobs = [one.job for one in comparison.jobs]
    return {"columns": columns_of(jobs, reader), "facts": facts_of(comparison, reader)}


def _setting(path: str, value: Any) -> str:
    """Return the value as text; empty when the job has none."""
    return "" if value is None or (path in LABELS and value == "") else setting_text(path, value)


def columns_of(jobs: Sequence[Job], reader: AnyUser) -> list[dict[str, Any]]:
    numbered = Counter((job.config_name, job.number) for job in jobs)
    columns = []
    for job, row in zip(jobs, make_rows(jobs, reader), strict=True):
        number = f"#{job.number}" if job.number else ""
        # Numbers count within an organization: where two jobs have one name and number, their ids tell them apart.
        mark = f"…{job.pk[-4:]}" if numbered[job.config_name, job.number] > 1 else number
        columns.append({"row": row, "mark": mark, "name": f"{job.config_name} {mark}".rstrip()})
    return columns


def facts_of(comparison: Comparison, reader: AnyUser) -> list[tuple[str, list[str]]]:
    """Return the rows of the table: a label, and a text for each job."""
    rows = make_rows([one.job for one in comparison.jobs], reader)
    facts = [
        ("Submitted by", [row.submitter or NONE for row in rows]),
        ("Hardware", [row.where for row in rows]),
        ("Cost", [row.cost or NONE for row in rows]),
        ("Duration", [row.duration or NONE for row in rows]),
    ]
    steps = [_steps(one) for one in comparison.jobs]
    if any(text != NONE for text in steps):
        facts.append(("Steps", steps))
    for name, label in LOSS_LABELS.items():
        if any(name in one.losses for one in comparison.jobs):
            facts.append((f"Last {label}", [_loss(one, name, 0) for one in comparison.jobs]))
            facts.append((f"Lowest {label}", [_loss(one, name, 1) for one in comparison.jobs]))
    return facts


def _steps(one: ComparedJob) -> str:
    """Return the steps that the job told of, or the last of its curves: many trainers tell of none."""
    step, total = one.job.step, one.job.total_steps
    if step is None:
        step = max((points[-1][0] for points in one.curves.series.values() if points), default=None)
    if step is None:
        return NONE
    return f"{step:,}" if not total or step == total else f"{step:,} of {total:,}"


def _loss(one: ComparedJob, name: str, which: int) -> str:
    found = one.losses.get(name)
    return f"{found[which]:.4g}" if found else NONE


def pictures_of(jobs: Sequence[Job], requested: str | None) -> dict[str, Any]:
    """Return the prompts of the jobs' pictures, and each job's newest picture of the chosen one."""
    galleries = [_gallery(job) for job in jobs]
    counts = Counter(key for gallery in galleries for key in gallery.prompts)
    texts: Mapping[str, str] = {key: text for gallery in galleries for key, text in gallery.prompts.items()}
    # The one that most of them have.
    ordered = sorted(counts, key=lambda key: (-counts[key], prompt_order(key)))
    prompt = requested if requested in texts else next(iter(ordered), None)
    shown = [_newest(job, gallery, prompt) for job, gallery in zip(jobs, galleries, strict=True)]
    return {
        "prompts": {key: texts[key] for key in ordered},
        "prompt": prompt,
        "pictures": shown if prompt is not None else [],
    }


def _gallery(job: Job) -> Gallery:
    try:
        return gallery_of(listing_of(job).files, job.config)
    except NotFoundError:  # it was removed meanwhile
        return gallery_of([], job.config)


def _newest(job: Job, gallery: Gallery, prompt: str | None) -> dict[str, Any] | None:
    picture = next((one for one in gallery.pictures if one.prompt == prompt), None)
    if picture is None:
        return None
    request_thumbnails(job, [picture.path], LARGE)
    address = file_address(job, picture.path)
    return {"step": picture.step, "address": address, "thumbnail": f"{address}?{urlencode({'thumbnail': LARGE})}"}
