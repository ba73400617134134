"""The extension points of this room: fields of a job, panels of its page, navigation, banners, sections of settings.

See `registrations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from django.contrib.auth.models import User

from cloudtrain_site.registry import Registry
from cloudtrain_site.states import Actor
from jobs.models import Job, Organization
from jobs.permissions import AnyUser, Team

#: Takes the jobs of one page, the viewer and the requested fields, and returns the fields to add, by job id. Fields
#: beyond the requested ones are optional. Called once a page. If several set a field, the highest order wins.
Facet = Callable[[Sequence[Job], AnyUser, Collection[str]], Mapping[str, Mapping[str, Any]]]

facets: Registry[Facet] = Registry()


def facets_of(jobs: Sequence[Job], viewer: AnyUser, requested: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the facets' merged fields by job id: the `requested` ones, and maybe more."""
    merged: dict[str, dict[str, Any]] = {job.pk: {} for job in jobs}
    for facet in facets.values():
        for job_id, fields in facet(jobs, viewer, requested).items():
            merged[job_id].update(fields)
    return merged


#: Returns the context of the panel's template for this reader; None: the panel is not shown.
Show = Callable[[Job, AnyUser], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """Something about a job on its page."""

    template: str
    show: Show
    #: Whether it stands on top of each tab, because it says what the job waits for; else it is among the details.
    on_top: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel with content, which its template finds under `panel.details`."""

    template: str
    details: Mapping[str, Any]


panels: Registry[Panel] = Registry()


def panels_of(job: Job, reader: AnyUser, *, on_top: bool) -> list[Shown]:
    """Return the panels with content for `job` of one place, in their order."""
    found = ((panel, panel.show(job, reader)) for panel in panels.values() if panel.on_top == on_top)
    return [Shown(panel.template, details) for panel, details in found if details is not None]


class Ask(Protocol):
    """Asks those who approved the job for an amount in US dollars, in the caller's transaction, which locks the job.

    False: nobody need be asked. Raises Conflict where they are asked already.
    """

    def __call__(self, job: Job, amount: Decimal, *, actor: Actor, source: str, reason: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class FuseLimit:
    """What else limits the cost of a job."""

    #: Returns what is approved for the job, in US dollars; None: any amount, or nobody had to approve it.
    approved: Callable[[Job], Decimal | None]
    #: Returns how much the user may let the job cost at most, in US dollars; None: any amount.
    of: Callable[[Job, AnyUser], Decimal | None]
    #: The same, and it stays so until the caller's transaction ends.
    lock: Callable[[Job, AnyUser], Decimal | None]
    ask: Ask


fuse_limits: Registry[FuseLimit] = Registry()


@dataclass(frozen=True, slots=True)
class ListAct:
    """Something that is done to several jobs of the list at once, each in a transaction of its own."""

    #: A verb, "Cancel", and its participle, "cancelled".
    label: str
    done: str
    #: Returns by job id why the user may not do it to a job, as a sentence; a job that may be has none.
    objections: Callable[[Sequence[Job], User], Mapping[str, str]]
    #: Does it to a job. The form's fields: `tag`, `remove`, and `key`, the same when the form is sent twice. Raises
    #: PermissionDenied, Conflict or ValidationError, with a sentence.
    do: Callable[[Job, User, Mapping[str, str]], None]
    #: What follows from it for the jobs.
    text: str = ""
    is_dangerous: bool = False
    #: It makes the jobs cost what they are estimated to.
    is_costly: bool = False
    #: A tag is chosen for it.
    has_tag: bool = False


list_acts: Registry[ListAct] = Registry()


#: Returns the number beside the item's name, for a user and their organizations. None: the user doesn't see the item.
#: 0: no number is shown.
Count = Callable[[AnyUser, Sequence[Team]], int | None]


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A page in the navigation bar, registered under its URL name."""

    label: str
    count: Count | None = None
    #: The counted things, for screen readers.
    of: str = ""
    #: The events that may change the count, as in `data-live` (see sections.js).
    events: str = ""
    #: The pages whose URL names begin so belong to the item too; "": none.
    prefix: str = ""


navigation: Registry[NavigationItem] = Registry()


@dataclass(frozen=True, slots=True)
class Banner:
    """A warning on top of each page, and the page that has more of it."""

    text: str
    address: str


#: Returns the banners for a user; called for each page.
banners: Registry[Callable[[AnyUser], Sequence[Banner]]] = Registry()


def banners_for(user: AnyUser) -> list[Banner]:
    return [banner for find in banners.values() for banner in find(user)]


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """A section of an organization's settings, registered under its URL name. Its address takes `organization`."""

    label: str
    #: Whether members who are no admins see it.
    for_members: bool = False


settings_sections: Registry[SettingsSection] = Registry()


#: Changes an organization's own limit: called with the organization, the value and who changes it, within the
#: transaction of a change of its settings. Raises Django's ValidationError, by field.
OrganizationLimit = Callable[[Organization, Any, User], None]

#: By the limit's name in the API's body.
organization_limits: Registry[OrganizationLimit] = Registry()
