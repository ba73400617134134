"""What the rooms above have to say of the site's health, without this room knowing them.

A room registers once, in its `AppConfig.ready()`::

    from cloudtrain_site.monitoring.components import register_component
    from jobs.health import lost_webhooks

    register_component("webhooks", lost_webhooks, well="Nothing is known to be lost.")

The function is called at every look at `GET /api/cloud/health`, so it asks the database little. It returns "" while all
is well (the answer then shows `well`), or the sentence that tells what is wrong and what helps, which makes the
component "degraded". When it raises, the component is degraded too and the answer names the kind of error alone.
Everybody who is signed in reads the sentence: it tells nothing that only one organization may know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Returns a sentence about what is wrong, "" while nothing is.
Look = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Registered:
    """One room's component: its name, what looks for trouble, and what is shown when there is none."""

    name: str
    warning: Look
    well: str


_components: dict[str, Registered] = {}


def register_component(name: str, warning: Look, *, well: str) -> None:
    """Have `warning` asked with every look at the health. A second one under the same name replaces the first."""
    _components[name] = Registered(name, warning, well)


def registered_components() -> list[Registered]:
    """All of them, in the order in which they came."""
    return list(_components.values())
