"""What the rooms above show on the page of one job, without this room knowing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.models import Job
from jobs.permissions import AnyUser

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
