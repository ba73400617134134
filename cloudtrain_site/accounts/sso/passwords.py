"""Passwords of this site, which the configuration may switch off beside an identity provider."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from cloudtrain_site.enterprise import config_in_force


class LocalPasswordsBackend:
    """Stands before Django's own, and ends every try with a password while passwords are switched off."""

    def authenticate(self, request: HttpRequest | None, password: str | None = None, **credentials: Any) -> None:
        """Return None: the next backend decides. Raises PermissionDenied, after which no other backend does."""
        if not config_in_force().sign_in.has_local_passwords:
            raise PermissionDenied


View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def local_sign_in(view: View) -> View:
    """Decorate a page about passwords, or a way in without the identity provider: 404 where that is the only door."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not config_in_force().sign_in.has_local_passwords:
            raise Http404
        return view(request, *args, **kwargs)

    return cast(View, answer)
