"""The site's extension points for the rooms above. Each room's `registrations.py` lists its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from prometheus_client.core import Metric

from cloudtrain_site.registry import Registry

#: Returns the Prometheus metrics that a user may see. Called at every scrape.
Collector = Callable[[User | AnonymousUser], Iterable[Metric]]
collectors: Registry[Collector] = Registry()


@dataclass(frozen=True, slots=True)
class HealthComponent:
    """A component of `GET /api/cloud/health`.

    `warning` is called at every request, so it should query little. It returns "" while all is well (the answer then
    shows `well`), or a sentence with the problem and its remedy, which makes the component "degraded". If it raises,
    the component is degraded too, and the answer names only the kind of error. All signed-in users read the sentence:
    it must not contain anything that only one organization may know.
    """

    warning: Callable[[], str]
    well: str


health_components: Registry[HealthComponent] = Registry()


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """The largest size of a whole request, in bytes, and the error for a larger one."""

    max_bytes: int
    refusal: str


#: By the address's path, where the limit differs from the general one.
request_limits: Registry[RequestLimit] = Registry()

#: The kinds of mail that a user can mute, with their labels on the account page.
mail_kinds: Registry[str] = Registry()


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """A background loop. Schedule rows contain its name and its task, so neither may change.

    `task` is a dotted path, and so is `is_enabled`, which returns whether the loop runs: a serving process imports
    neither.
    """

    task: str
    seconds: Callable[[], float]
    is_enabled: str | None = None
    #: The log messages when the loop is enabled, disabled, or can't be started; "": none.
    started: str = ""
    stopped: str = ""
    start_failed: str = ""


loops: Registry[LoopSpec] = Registry()


@dataclass(frozen=True, slots=True)
class Watcher:
    """A check that each machine must do for itself: a dotted path, called every `seconds`."""

    task: str
    seconds: float


watchers: Registry[Watcher] = Registry()
