"""What the rooms above add to a job as the API shows it, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.models import Job
from jobs.permissions import AnyUser

#: Given the jobs of one page, who looks, and for which fields: what to add, by job id. What nobody looks for may be
#: left out. Asked once a page, not once a job.
Facet = Callable[[Sequence[Job], AnyUser, Collection[str]], Mapping[str, Mapping[str, Any]]]

_facets: dict[str, tuple[int, Facet]] = {}


def register_facet(name: str, facet: Facet, order: int) -> None:
    """Have `facet` asked for every page of jobs; of a field that several fill in, the highest `order` has its way.

    A second one under the same name replaces the first.
    """
    _facets[name] = order, facet


def facets_of(jobs: Sequence[Job], viewer: AnyUser, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the facets say, merged, by job id: the `wanted` fields, and maybe more."""
    merged: dict[str, dict[str, Any]] = {job.pk: {} for job in jobs}
    for _, facet in sorted(_facets.values(), key=lambda item: item[0]):
        for job_id, fields in facet(jobs, viewer, wanted).items():
            merged[job_id].update(fields)
    return merged


#: What the panel's template needs, for this reader; None: there is nothing to show.
Show = Callable[[Job, AnyUser], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a job's page."""

    name: str
    template: str
    #: Small numbers first.
    order: int
    show: Show


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel that has something to say; its template finds that under `panel.said`."""

    template: str
    said: Mapping[str, Any]


_panels: dict[str, Panel] = {}


def register_panel(panel: Panel) -> None:
    """Have every job's page show `panel`. A second one under the same name replaces the first."""
    _panels[panel.name] = panel


def panels_of(job: Job, reader: AnyUser) -> list[Shown]:
    """The panels that have something to say about `job`, in their order."""
    found = ((panel, panel.show(job, reader)) for panel in sorted(_panels.values(), key=lambda panel: panel.order))
    return [Shown(panel.template, said) for panel, said in found if said is not None]
