"""What the rooms above may plug into this one: more about a job, and more pages. See their `registrations.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudtrain_site.registry import Registry
from jobs.models import Job
from jobs.permissions import AnyUser, Team

#: Given the jobs of one page, who looks, and for which fields: what to add, by job id. What nobody looks for may be
#: left out. Asked once a page, not once a job. Of a field that several fill in, the highest order has its way.
Facet = Callable[[Sequence[Job], AnyUser, Collection[str]], Mapping[str, Mapping[str, Any]]]

facets: Registry[Facet] = Registry()


def facets_of(jobs: Sequence[Job], viewer: AnyUser, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the facets say, merged, by job id: the `wanted` fields, and maybe more."""
    merged: dict[str, dict[str, Any]] = {job.pk: {} for job in jobs}
    for facet in facets.values():
        for job_id, fields in facet(jobs, viewer, wanted).items():
            merged[job_id].update(fields)
    return merged


#: What the panel's template needs, for this reader; None: there is nothing to show.
Show = Callable[[Job, AnyUser], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a job's page."""

    template: str
    show: Show


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel that has something to say; its template finds that under `panel.said`."""

    template: str
    said: Mapping[str, Any]


panels: Registry[Panel] = Registry()


def panels_of(job: Job, reader: AnyUser) -> list[Shown]:
    """The panels that have something to say about `job`, in their order."""
    found = ((panel, panel.show(job, reader)) for panel in panels.values())
    return [Shown(panel.template, said) for panel, said in found if said is not None]


#: For the user, with their organizations: the number beside the place's name. None: the place isn't for this user at
#: all; 0: no number is shown.
Count = Callable[[AnyUser, Sequence[Team]], int | None]


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A page that the bar on top leads to; it is registered under the name of its address."""

    label: str
    count: Count | None = None
    #: What is counted, for those who hear the page.
    of: str = ""
    #: The events after which the count may be another one, as in `data-live` (see sections.js).
    events: str = ""


navigation: Registry[NavigationItem] = Registry()
