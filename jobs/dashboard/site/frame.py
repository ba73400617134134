"""The frame of the site's pages, which superusers alone see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from jobs.dashboard.form_pages import Answer, FormPage, answer_with, for_signed_in
from jobs.dashboard.navigation import page, page_context
from jobs.permissions import AnyUser, Team, is_superuser

#: The sections by URL name, in their order.
SECTIONS: Mapping[str, str] = {
    "site-audit": "Audit",
}
FOR_SUPERUSERS = "Only superusers see this page."


@dataclass(frozen=True, slots=True)
class SitePage(FormPage):
    """A request for a section of the site's pages, by a superuser."""

    section: str

    def address(self, name: str = "", **parts: Any) -> str:
        return reverse(name or self.section, kwargs=parts)

    def render(self, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        around = page_context(self.request)
        frame = {
            "sections": [
                {"label": label, "address": reverse(name), "is_here": name == self.section}
                for name, label in SECTIONS.items()
            ],
            "label": SECTIONS[self.section],
        }
        return render(self.request, template, {**around, **frame, **context}, status=status)


def site_page(section: str, *methods: str) -> Callable[[Answer], Answer]:
    """Decorate a page of the section: `view(page, ...)` answers the methods, without any GET and POST."""

    def decorate(view: Answer) -> Answer:
        @wraps(view)
        def answer(request: HttpRequest, **parts: Any) -> HttpResponseBase:
            if not is_superuser(request.user):
                raise PermissionDenied(FOR_SUPERUSERS)
            return answer_with(view, SitePage(request, section), parts)

        return for_signed_in(answer, methods)

    return decorate


def for_superusers(user: AnyUser, teams: Sequence[Team]) -> int | None:
    """Return whether the site's pages are among the navigation's items, see `jobs.extensions.Count`."""
    return 0 if is_superuser(user) else None


@page
def site(request: HttpRequest) -> HttpResponse:
    """Lead to the first section."""
    if not is_superuser(request.user):
        raise PermissionDenied(FOR_SUPERUSERS)
    return redirect(next(iter(SECTIONS)))
