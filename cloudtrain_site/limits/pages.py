"""The pages for who has reached a limit, and who has to wait."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from cloudtrain_site.limits.brakes import PausedError
from cloudtrain_site.limits.errors import LimitReachedError

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def within_limits(view: View[P]) -> View[P]:
    """Decorate a view that counts its requests: one too many gets a page with the limit's sentence."""

    @wraps(view)
    def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except LimitReachedError as error:
            error.record()
            response = render(request, "429.html", {"refusal": error.detail}, status=error.status_code)
            response["Retry-After"] = str(error.wait)
            return response

    return answer


class PausedMiddleware(MiddlewareMixin):
    """Answers 429 with a page for attempts that are paused, in whichever view. DRF's own handler answers the API's."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, PausedError):
            return None
        page = {"refusal": exception.detail}
        response = render(request, "account/paused.html", page, status=exception.status_code)
        response["Retry-After"] = str(exception.wait)
        # `brakes` has told of the pause; a line of Django's for each refused request would fill the log.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response
