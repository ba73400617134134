"""The colours of the pages: the system's, light or dark. Each person's choice is stored, and kept in a cookie as well.

The cookie makes the first paint right on pages that know no person yet, and in the admin.
"""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from cloudtrain_site.accounts.preferences import change_preferences

COOKIE = "theme"
COOKIE_SECONDS = 365 * 86_400
#: The names by which a theme is stored; empty: the system's.
THEMES = {"": "System", "light": "Light", "dark": "Dark"}


def theme_of(request: HttpRequest) -> dict[str, str]:
    """Return the context of a page: its theme, by this browser's cookie."""
    kept = request.COOKIES.get(COOKIE, "")
    return {"theme": kept if kept in THEMES else ""}


def keep(request: HttpRequest, response: HttpResponseBase, theme: str) -> None:
    """Have this browser keep the person's `theme`, unless it does so already."""
    if theme == request.COOKIES.get(COOKIE, ""):
        return
    if not theme:
        response.delete_cookie(COOKIE, samesite="Lax")
        return
    response.set_cookie(
        COOKIE, theme, max_age=COOKIE_SECONDS, secure=settings.SECURE_COOKIES, httponly=True, samesite="Lax"
    )


@login_required
@require_POST
def change_theme(request: HttpRequest) -> HttpResponse:
    """Store the theme that the form names, and go back to where the form was."""
    theme = request.POST.get("theme", "")
    if theme not in THEMES:
        return HttpResponseBadRequest("The theme is light, dark or empty.")
    change_preferences(cast(User, request.user), theme=theme)
    back = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(back, request.get_host())
    response = HttpResponseRedirect(back if is_ours else "/")
    keep(request, response, theme)
    return response
