"""The tabs of a job's page, and what all of them show: the head, and what blocks the job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.gzip import gzip_page

from cloudtrain_site.errors import Conflict
from jobs.dashboard.job_detail import head_of
from jobs.dashboard.navigation import page, page_context
from jobs.models import Job
from jobs.queries import find_job

#: The labels of the tabs by the names of their addresses, in their order.
TABS: Mapping[str, str] = {
    "job-page": "Overview",
    "job-log": "Log",
    "job-curves": "Curves",
    "job-results": "Results",
    "job-config": "Config",
    "job-history": "History",
}
Content = Callable[[Job, HttpRequest], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Tab:
    label: str
    address: str
    is_here: bool


def job_of(request: HttpRequest, job_id: str) -> Job:
    """Return the job. Raises Http404 when there is none, or several begin so."""
    try:
        return find_job(request.user, job_id)
    except Conflict as error:
        raise Http404 from error


def tab_view(name: str, template: str, content: Content) -> Callable[..., HttpResponse]:
    """Return the page of one tab: the job's head and what `content` returns. Another tab is another page."""

    @gzip_page
    @page
    def show(request: HttpRequest, job_id: str) -> HttpResponse:
        around = page_context(request)  # before the job is read: the stream brings every later event
        job = job_of(request, job_id)
        if job_id != job.pk:
            return redirect(name, job.pk)
        context = {**around, **head_of(job, request.user), "tabs": tabs_of(job, name), **content(job, request)}
        return render(request, template, context)

    return show


def tabs_of(job: Job, here: str) -> list[Tab]:
    return [Tab(label, reverse(name, args=[job.pk]), name == here) for name, label in TABS.items()]
