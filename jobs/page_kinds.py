"""What a view of the dashboard is: a whole page, a part of one that its script fetches, or a page with such a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from jobs.dashboard.navigation import frame

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
        around = frame(request)  # before anything is read: whatever happens from here on, the stream brings
        return render(request, whole, {**around, **read(request)})

    @part
    def show_now(request: HttpRequest) -> HttpResponse:
        return render(request, live, dict(read(request)))

    return show, show_now
