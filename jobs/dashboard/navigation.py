"""The navigation bar, and the context that every page of the dashboard needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from csp.constants import NONCE, SELF
from csp.decorators import csp_update
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cloudtrain_site.accounts import themes
from cloudtrain_site.accounts.preferences import preferences_of
from cloudtrain_site.api import remembered
from cloudtrain_site.events.store import current_number
from cloudtrain_site.limits.pages import within_limits
from jobs import extensions
from jobs.extensions import NavigationItem
from jobs.permissions import AnyUser, Team, own_teams, teams_of
from jobs.roles import MANAGERS


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Return the context of `dashboard/base.html` for a signed-in user.

    To be called before the page reads anything: from its `newest_event` the page follows the event stream, which brings
    every later event. `own_teams` are the reader's, so that the page need not query them again.
    """
    newest_event, teams = remembered(request, "newest_event", current_number), own_teams(request)
    chosen = preferences_of(request.user)
    request.chosen_theme = chosen.theme  # type: ignore[attr-defined]
    return {
        "newest_event": newest_event,
        "own_teams": teams,
        "administers": request.user.is_staff or any(team.role in MANAGERS for team in teams),
        "navigation": _items_for(request, teams),
        # The admin shows none, and reads none.
        "banners": SimpleLazyObject(lambda: extensions.banners_for(request.user)),
        "time_zone": chosen.time_zone,
        "list_columns": chosen.list_columns,
        "theme": chosen.theme,
        "themes": themes.THEMES.items(),
    }


def _items_for(request: HttpRequest, teams: Sequence[Team]) -> list[dict[str, Any]]:
    here = (request.resolver_match.url_name if request.resolver_match else None) or ""
    shown = []
    for name, item in extensions.navigation.items():
        count = item.count(request.user, teams) if item.count else 0
        if count is not None:
            shown.append({**_as_data(name, item, count), "address": reverse(name), "is_here": _is_at(here, name, item)})
    return shown


def _is_at(here: str, name: str, item: NavigationItem) -> bool:
    return here == name or bool(item.prefix and here.startswith(item.prefix))


def item_for(user: AnyUser, name: str) -> dict[str, Any] | None:
    """Return the navigation item with its present number; None: there is none for `user`."""
    item = extensions.navigation.get(name)
    count = item.count(user, teams_of(user)) if item and item.count else None
    return None if item is None or count is None else _as_data(name, item, count)


def _as_data(name: str, item: NavigationItem, count: int) -> dict[str, Any]:
    return {"label": item.label, "name": name, "of": item.of, "events": item.events, "count": count}


View = TypeVar("View", bound=Callable[..., HttpResponseBase])
Reader = Callable[[HttpRequest], Mapping[str, Any]]


#: Decorates a page with an editor: the style rules that the editor makes carry the page's nonce.
with_editor = csp_update({"style-src": [SELF, NONCE]})


def page(view: View) -> View:
    """Decorate a read-only page for signed-in users; others are sent to the login. It is never cached."""
    return cast(View, never_cache(login_required(require_safe(within_limits(_in_theme(view))))))


def _in_theme(view: View) -> View:
    """Have the browser keep the reader's theme, for pages that know no reader."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if (theme := getattr(request, "chosen_theme", None)) is not None:
            themes.keep(request, response, theme)
        return response

    return cast(View, answer)


def for_scripts(view: View) -> View:
    """Answer 401 to who is not signed in, since a redirect would seem to be an answer."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return HttpResponse(status=401)
        return view(request, *args, **kwargs)

    return cast(View, answer)


def part(view: View) -> View:
    """Decorate a part of a page that scripts fetch."""
    return never_cache(require_safe(for_scripts(view)))


def live_page(
    page_template: str, part_template: str, read: Reader
) -> tuple[Callable[..., HttpResponse], Callable[..., HttpResponse]]:
    """Return a page, and its part that sections.js fetches again: two templates over the result of `read`."""

    @page
    def show(request: HttpRequest) -> HttpResponse:
        around = page_context(request)  # before anything is read: the stream brings every later event
        return render(request, page_template, {**around, **read(request)})

    @part
    def show_now(request: HttpRequest) -> HttpResponse:
        return render(request, part_template, dict(read(request)))

    return show, show_now
