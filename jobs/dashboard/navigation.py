"""The bar on top, and what every page of the dashboard has around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cloudtrain_site.accounts.preferences import time_zone_of
from cloudtrain_site.events.store import current_number
from jobs import extensions
from jobs.extensions import NavigationItem
from jobs.permissions import AnyUser, Team, teams_of
from jobs.roles import MANAGERS


def page_context(request: HttpRequest) -> dict[str, Any]:
    """What `dashboard/base.html` needs around a page for somebody who is signed in.

    To be called before the page reads anything: its `newest_event` is where the page follows the event stream from, and
    what happens after that number is brought by the stream. `own_teams` are the reader's, so that the page need not ask
    for them again.
    """
    newest_event = current_number()
    teams = teams_of(request.user)
    return {
        "newest_event": newest_event,
        "own_teams": teams,
        "administers": request.user.is_staff or any(team.role in MANAGERS for team in teams),
        "places": _items_for(request, teams),
        "time_zone": time_zone_of(request.user),
    }


def _items_for(request: HttpRequest, teams: Sequence[Team]) -> list[dict[str, Any]]:
    here = request.resolver_match.url_name if request.resolver_match else None
    shown = []
    for name, place in extensions.navigation.items():
        count = place.count(request.user, teams) if place.count else 0
        if count is not None:
            shown.append({**_as_data(name, place, count), "address": reverse(name), "is_here": name == here})
    return shown


def item_for(user: AnyUser, name: str) -> dict[str, Any] | None:
    """The place with the number that stands beside it now; None when there is none for `user`."""
    place = extensions.navigation.get(name)
    count = place.count(user, teams_of(user)) if place and place.count else None
    return None if place is None or count is None else _as_data(name, place, count)


def _as_data(name: str, place: NavigationItem, count: int) -> dict[str, Any]:
    return {"label": place.label, "name": name, "of": place.of, "events": place.events, "count": count}


View = TypeVar("View", bound=Callable[..., HttpResponseBase])
Reader = Callable[[HttpRequest], Mapping[str, Any]]


def page(view: View) -> View:
    """A page that is read, by who is signed in; the others are sent to the login. No cache keeps it."""
    return never_cache(login_required(require_safe(view)))


def part(view: View) -> View:
    """As a page, but for a script: nobody gets a 401, since a redirect to the login would look like an answer."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return HttpResponse(status=401)
        return view(request, *args, **kwargs)

    return cast(View, never_cache(require_safe(answer)))


def live_page(whole: str, live: str, read: Reader) -> tuple[Callable[..., HttpResponse], Callable[..., HttpResponse]]:
    """A page, and the part of it that is fetched anew (see sections.js): two templates over what `read` finds."""

    @page
    def show(request: HttpRequest) -> HttpResponse:
        around = page_context(request)  # before anything is read: whatever happens from here on, the stream brings
        return render(request, whole, {**around, **read(request)})

    @part
    def show_now(request: HttpRequest) -> HttpResponse:
        return render(request, live, dict(read(request)))

    return show, show_now
