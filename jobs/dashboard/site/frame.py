"""The frame of the site's pages, which superusers alone see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from jobs.dashboard.form_pages import READ_AND_WRITE, Answer, FormPage, answer_with, for_signed_in
from jobs.dashboard.navigation import page, page_context
from jobs.models import Organization
from jobs.permissions import AnyUser, Team, is_superuser

#: The sections by URL name, in their order.
SECTIONS: Mapping[str, str] = {
    "site-organizations": "Organizations",
    "site-people": "People",
    "site-audit": "Audit",
    "site-doctor": "Checks",
}
ROWS_PER_PAGE = 50
MAX_SEARCH_CHARS = 150
FOR_SUPERUSERS = "Only superusers can see this page."


@dataclass(frozen=True, slots=True)
class SitePage(FormPage):
    """A request for a section of the site's pages, by a superuser."""

    section: str

    @property
    def search(self) -> str:
        """The text that is searched for; no name has a NUL, which PostgreSQL refuses."""
        return self.request.GET.get("q", "").replace("\x00", "").strip()[:MAX_SEARCH_CHARS]

    def members_of(self, organization: Organization) -> str:
        """Return the address of its members in its settings."""
        return reverse("settings-members", kwargs={"organization": organization.name})

    def address(self, name: str = "", **parts: Any) -> str:
        return reverse(name or self.section, kwargs=parts)

    def render(self, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        around = page_context(self.request)
        frame = {
            "sections": [
                {"label": label, "address": reverse(name), "is_here": name == self.section}
                for name, label in SECTIONS.items()
            ],
            "section_label": SECTIONS[self.section],
        }
        return render(self.request, template, {**around, **frame, **context}, status=status)


def pages_of(request: HttpRequest, rows: QuerySet[Any]) -> dict[str, Any]:
    """Return one page of the rows, the one that the address names or the nearest, and what `site/_pager.html` needs."""
    shown = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page", ""))
    search = request.GET.get("q", "")
    return {"rows": shown, "search": search, "query": urlencode({"q": search}) if search else ""}


def site_page(section: str, *methods: str) -> Callable[[Answer], Answer]:
    """Decorate a page of the section: `view(page, ...)` answers the methods, without any GET and POST."""

    def decorate(view: Answer) -> Answer:
        @wraps(view)
        def answer(request: HttpRequest, **parts: Any) -> HttpResponseBase:
            if not is_superuser(request.user):
                raise PermissionDenied(FOR_SUPERUSERS)
            return answer_with(view, SitePage(request, section), parts, only_post=methods == ("POST",))

        return for_signed_in(answer, READ_AND_WRITE if methods == ("POST",) else methods)

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
