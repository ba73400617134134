"""What the rooms above may plug into the site. Each room's `registrations.py` says what it plugs in where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from prometheus_client.core import Metric

from cloudtrain_site.registry import Registry

#: Given who asks, the figures for Prometheus that they may see. Asked at every scrape.
Collector = Callable[[User | AnonymousUser], Iterable[Metric]]
collectors: Registry[Collector] = Registry()


@dataclass(frozen=True, slots=True)
class HealthComponent:
    """A part of `GET /api/cloud/health`.

    `warning` is called at every look, so it asks the database little. It returns "" while all is well (the answer then
    shows `well`), or the sentence that tells what is wrong and what helps, which makes the component "degraded". When
    it raises, the component is degraded too and the answer names the kind of error alone. Everybody who is signed in
    reads the sentence: it tells nothing that only one organization may know.
    """

    warning: Callable[[], str]
    well: str


health_components: Registry[HealthComponent] = Registry()


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """How large a request may be, in bytes with all that is around its content; what a larger one is told."""

    max_bytes: int
    refusal: str


#: By the path of the address, for those that take more, or less, than others do.
request_limits: Registry[RequestLimit] = Registry()

#: The kinds of mail that a room sends and everybody chooses about: what the account page says of each.
mail_kinds: Registry[str] = Registry()


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """A background loop. Schedule rows hold its name and its task, so neither may change.

    The task is a dotted path, and so is what says whether the loop is wanted: a process that serves loads neither.
    """

    task: str
    seconds: Callable[[], float]
    wanted: str | None = None
    #: What the log says when the loop is switched on or off, and when it can't be begun; "": nothing of its own.
    started: str = ""
    stopped: str = ""
    start_failed: str = ""


loops: Registry[LoopSpec] = Registry()


@dataclass(frozen=True, slots=True)
class Watcher:
    """What each machine must look at by itself, since it sees only its own: a dotted path, called every `seconds`."""

    task: str
    seconds: float


watchers: Registry[Watcher] = Registry()
