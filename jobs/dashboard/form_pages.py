"""Pages with forms: what a verb refuses is shown, and a form that is out of date overwrites nothing."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from rest_framework import exceptions

from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.pages import within_limits

CHANGED_MEANWHILE = "Somebody else changed this after you opened the page. Your change was not saved."

READ_AND_WRITE = ("GET", "HEAD", "POST")
Answer = Callable[..., HttpResponseBase]


class StaleError(Exception):
    """Somebody else changed what a form is about after the form was shown."""


def stamp_of(*values: Any) -> str:
    """Return a text that differs when one of the values does. A form sends it back, see `FormPage.check_stamp`."""
    return hashlib.sha256(json.dumps(values, default=str, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FormPage:
    """A request for a page, by somebody who may see it."""

    request: HttpRequest

    @property
    def user(self) -> User:
        return current_user(self.request)

    @property
    def is_post(self) -> bool:
        return self.request.method == "POST"

    @abstractmethod
    def address(self, name: str = "", **parts: Any) -> str:
        """Return the address of the page of that URL name; without a name, of the section that this page belongs to."""

    @abstractmethod
    def render(self, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        """Render the template in the frame of the section."""

    def check_stamp(self, *values: Any) -> None:
        """Raise StaleError when the values differ from those that the sent form was shown with."""
        if self.request.POST.get("stamp", "") != stamp_of(*values):
            raise StaleError

    def done(self, sentence: str, address: str = "") -> HttpResponseRedirect:
        """Lead to `address`, or back to the section, where the sentence is shown once."""
        messages.success(self.request, sentence)
        return HttpResponseRedirect(address or self.address())

    def refused(self, sentence: str, address: str = "") -> HttpResponseRedirect:
        """Do the same with a sentence that says why nothing was changed."""
        messages.error(self.request, sentence)
        return HttpResponseRedirect(address or self.address())


def answer_with(view: Answer, page: FormPage, parts: Mapping[str, Any], *, only_post: bool) -> HttpResponseBase:
    """Return the view's answer, or what it refuses on the section's page. Raises PermissionDenied with a sentence.

    `only_post`: a GET, as after a sign-in in between or a reload, leads back to the section and changes nothing.
    """
    if only_post and not page.is_post:
        return HttpResponseRedirect(page.address())
    try:
        return view(page, **parts)
    except StaleError:
        return page.refused(CHANGED_MEANWHILE)
    except exceptions.PermissionDenied as error:
        raise PermissionDenied(str(error.detail)) from error
    except Conflict as error:
        return page.refused(str(error.detail))


def for_signed_in(answer: Answer, methods: tuple[str, ...]) -> Answer:
    """Decorate a page for signed-in users that answers the methods, without any GET and POST. It is never cached."""
    allowed = require_http_methods(methods or READ_AND_WRITE)(within_limits(answer))
    return cast(Answer, never_cache(login_required(cast(Callable[..., HttpResponse], allowed))))
