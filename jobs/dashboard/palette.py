"""Where one can go from any page: the pages, the settings of one's organizations, and jobs by name or id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from jobs import extensions
from jobs.dashboard.listing.periods import LAST_MONTH, THIS_MONTH
from jobs.dashboard.navigation import part
from jobs.finding.orders import LOSS, NEWEST
from jobs.finding.pages import found_for
from jobs.finding.search import matching
from jobs.models import Job, JobQuerySet
from jobs.permissions import AnyUser, Team, teams_of
from jobs.queries import status_labels
from jobs.roles import SUBMITTERS, Role
from jobs.validators import NAME_LIMIT

MOST_JOBS = 8
MOST_PLACES = 12
#: No index has shorter parts of names: to find that no job has one takes half a second with a million of them.
SHORTEST = 3


@dataclass(frozen=True, slots=True)
class Place:
    label: str
    #: Says behind the label what the place is: a page, settings, or the status of a job.
    kind: str
    address: str


@part
def places(request: HttpRequest) -> HttpResponse:
    """Render the places whose names have the text `q` in them."""
    text = request.GET.get("q", "").strip()[:NAME_LIMIT].replace("\x00", "")
    teams = teams_of(request.user)
    everywhere = [*_pages(request.user, teams), *_settings(teams)]
    parts = text.casefold().split()
    found = [place for place in everywhere if all(part in place.label.casefold() for part in parts)]
    jobs = _jobs(request.user, teams, text) if len(text) >= SHORTEST else []
    return render(request, "dashboard/_palette.html", {"places": [*found[:MOST_PLACES], *jobs]})


def _pages(user: AnyUser, teams: Sequence[Team]) -> Iterator[Place]:
    if any(team.role in SUBMITTERS for team in teams):
        yield Place("New job", "page", reverse("new-job"))
    for name, item in extensions.navigation.items():
        if item.count is None or item.count(user, teams) is not None:
            yield Place(item.label, "page", reverse(name))
    for label, period in (("this month", THIS_MONTH), ("last month", LAST_MONTH)):
        yield Place(f"Best runs of {label}", "list", f"{reverse('dashboard')}?period={period}&sort={LOSS}")
    yield Place("Account", "page", reverse("account"))
    yield Place("API", "page", reverse("docs"))


def _settings(teams: Sequence[Team]) -> Iterator[Place]:
    for team in teams:
        for name, section in extensions.settings_sections.items():
            if team.role == Role.ADMIN or section.for_members:
                yield Place(f"{team.name}: {section.label}", "settings", reverse(name, args=[team.name]))


def _jobs(user: AnyUser, teams: Sequence[Team], text: str) -> list[Place]:
    found = found_for((user, teams), Job.objects.kept(), [matching(text)], organization="", is_narrowed=False)
    jobs = found.page(_as_shown, NEWEST, cursor="", count=MOST_JOBS)
    labels = status_labels(jobs, user)
    return [
        Place(
            f"{job.config_name} #{job.number}" if job.number else job.config_name,
            f"{labels[job.pk]}, {job.created_at.day} {job.created_at:%b}",
            reverse("job-page", args=[job.pk]),
        )
        for job in jobs
    ]


def _as_shown(jobs: JobQuerySet) -> JobQuerySet:
    return jobs.only("pk", "number", "config_name", "status", "cancel_requested_at", "created_at")
