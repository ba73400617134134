"""The site's extension points for the rooms above. Each room's `registrations.py` lists its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import HttpRequest
from prometheus_client.core import Metric

from cloudtrain_site.registry import Registry

if TYPE_CHECKING:
    from cloudtrain_site.notices.models import Notice

#: Returns the Prometheus metrics that a user may see. Called at every scrape.
Collector = Callable[[User | AnonymousUser], Iterable[Metric]]
collectors: Registry[Collector] = Registry()


@dataclass(frozen=True, slots=True)
class HealthComponent:
    """A component of `GET /api/cloud/health`.

    `warning` is called at every request, so it should query little. It returns "" while all is well (the answer then
    shows `well`, or what that returns), or a sentence with the problem and its remedy, which makes the component
    "degraded". If it raises, the component is degraded too, and the answer names only the kind of error. All signed-in
    users read the sentence: it must not contain anything that only one organization may know.
    """

    warning: Callable[[], str]
    well: str | Callable[[], str]


health_components: Registry[HealthComponent] = Registry()


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """A check of the deployment, registered under the name that `manage.py doctor --only` takes.

    `check`, a dotted path, yields what it finds (`doctor/findings.py`), or nothing while all is well. It changes
    nothing, and ends by itself within five seconds wherever that is in its hands. `more` is a page of the
    documentation. It is skipped when one of the checks that it `needs` is bad. One that is `cheap`, a millisecond, is
    asked for the health as well, which tells its name alone.
    """

    question: str
    check: str
    more: str
    needs: tuple[str, ...] = ("database", "migrations")
    cheap: bool = False


doctor_checks: Registry[DoctorCheck] = Registry()
#: Of the checks that read the configuration file.
NEEDS_CONFIGURATION = ("database", "migrations", "configuration")

#: The columns with sealed secrets, registered as APP.MODEL.COLUMN, and what they belong to.
sealed_columns: Registry[str] = Registry()


@dataclass(frozen=True, slots=True)
class DataPart:
    """A part of the data folder, registered under the name by which `manage.py backup --without` leaves it out.

    `places` are patterns of paths in that folder, level by level. What isn't `kept` is in no backup: the site makes it
    anew. A file with a `rewrite` is in a backup as that returns it.
    """

    label: str
    places: tuple[str, ...]
    is_kept: bool = True
    rewrite: Callable[[bytes], bytes] | None = None


data_parts: Registry[DataPart] = Registry()

#: SQL for both databases, by what it does: run on a database that is put back, before anything uses it.
restore_statements: Registry[str] = Registry()


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """The largest size of a whole request, in bytes, and the error for a larger one."""

    max_bytes: int
    refusal: str


#: Returns what `dashboard/base.html` needs around a page of a signed-in user: the room above registers the only one.
Frame = Callable[[HttpRequest], dict[str, Any]]
frames: Registry[Frame] = Registry()

#: By the address's path, where the limit differs from the general one.
request_limits: Registry[RequestLimit] = Registry()


@dataclass(frozen=True, slots=True)
class NoticeKind:
    """A kind of notice, registered under its name, and the choice on the settings pages that mutes it.

    `label` is the choice's text; "" for a kind that nobody can mute. `choice` is its name; "": the kind's own name.
    `prepare` is called when the notice is due, before its deliveries are made: it may fill in what was not known when
    the notice was stored (`outbox.fill_in`), and returns False for a notice that nobody needs any more. The choice
    is offered to whom it `concerns`.
    """

    label: str = ""
    choice: str = ""
    prepare: Callable[[Notice], bool] | None = None
    concerns: Callable[[User], bool] | None = None


notice_kinds: Registry[NoticeKind] = Registry()

#: Narrows the users of a notice to those who may still read it.
notice_readers: Registry[Callable[[Notice, QuerySet[User]], QuerySet[User]]] = Registry()


def notice_choices(user: User | None = None) -> dict[str, str]:
    """Return the choices of kinds with their labels: all, or those that concern a user.

    Kinds with the same choice are muted together.
    """
    choices: dict[str, str] = {}
    for name, kind in notice_kinds.items():
        if kind.label and (user is None or kind.concerns is None or kind.concerns(user)):
            choices.setdefault(kind.choice or name, kind.label)
    return choices


def choice_of(kind: str) -> str:
    """Return the choice that mutes `kind`; empty: none does."""
    registered = notice_kinds.get(kind)
    return (registered.choice or kind) if registered is not None and registered.label else ""


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
    #: What the counts of its result count, in words for the admin, by their names.
    counts: Mapping[str, str] = field(default_factory=dict)


loops: Registry[LoopSpec] = Registry()


#: Returns what is stored about a person, as rows of plain values. Called when somebody's data are exported.
PersonalData = Callable[[User], Iterable[Mapping[str, Any]]]
personal_data: Registry[PersonalData] = Registry()


@dataclass(frozen=True, slots=True)
class NamedIn:
    """Where a table, registered under its label, has people's names as texts: a removed person's become a pseudonym.

    A column of `names` has a name and nothing else, one of `sentences` (texts or JSON) may have one among other words.
    """

    model: str
    names: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


named_in: Registry[NamedIn] = Registry()

#: The rows that stay when a person is removed, under the pseudonym, though they would go with a deleted account: by
#: the model's label and the column's name. All others that would go are removed with the person.
kept_of_person: Registry[str] = Registry()


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that is kept for the time that `retention` in the configuration file sets under its name.

    `remove(before, until)`, a dotted path, deletes what is older than `before` in transactions of less than 100 ms, and
    begins none when `time.monotonic()` is past `until`. It returns how many it deleted. One that is `always` called
    gets None as `before` when the setting is for ever: it heeds further settings.
    """

    label: str
    remove: str
    always: bool = False


kept: Registry[Kept] = Registry()


@dataclass(frozen=True, slots=True)
class Watcher:
    """A check that each machine must do for itself: a dotted path, called every `seconds`."""

    task: str
    seconds: float


watchers: Registry[Watcher] = Registry()


#: Takes a person who signs in at the identity provider and, by organization, the role that the groups give there
#: (None: none). Organizations that the configuration doesn't name are not among them.
RoleFollower = Callable[[User, Mapping[str, str | None]], None]
role_followers: Registry[RoleFollower] = Registry()

#: Returns the names of those who demand a second factor of a person, as a page shows them. Called at most requests of
#: a person without one.
SecondFactorDemand = Callable[[User], Sequence[str]]
second_factor_demands: Registry[SecondFactorDemand] = Registry()

#: Returns whether a user is a program's account, which has keys alone and can set up no second factor.
programs: Registry[Callable[[User], bool]] = Registry()
