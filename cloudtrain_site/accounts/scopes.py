"""The scopes of API keys: each operation of the API needs one, and a key has some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rest_framework import exceptions
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from cloudtrain_site.api import handler_of
from cloudtrain_site.models import ApiKey, Scope

if TYPE_CHECKING:  # it loads the authentication, which loads this module
    from rest_framework.views import APIView

Method = TypeVar("Method", bound=Callable[..., Any])


class ByHand(BasePermission):
    """Only for a signed-in user: a leaked key must not make other keys, nor lock its owner out."""

    message = "Sign in to create or revoke keys. A key can't do that."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.user.is_authenticated and request.auth is None


def needs(scope: Scope) -> Callable[[Method], Method]:
    """Declare the scope that a key needs for a view's method."""

    def declare(method: Method) -> Method:
        method.key_scope = scope  # type: ignore[attr-defined]
        return method

    return declare


def needed_scope(view: Any, http_method: str) -> Scope | None:
    """Return the scope that a key needs. None: no key may do this, since the method declares none.

    Whatever only reads needs `read` unless it declares another one.
    """
    declared: Scope | None = getattr(handler_of(view, http_method), "key_scope", None)
    return declared or (Scope.READ if http_method in SAFE_METHODS else None)


def check_scope(key: ApiKey, view: Any, http_method: str) -> None:
    """Raise PermissionDenied when `key` may not use the method of `view`, which is None outside of the API's views."""
    is_by_hand = ByHand in getattr(view, "permission_classes", ())
    if is_by_hand or (view is not None and handler_of(view, http_method) is None):
        return  # the view refuses it in words of its own
    scope = needed_scope(view, http_method)
    if scope is None:
        raise exceptions.PermissionDenied("This can't be done with a key.")
    if scope not in key.scopes:
        scopes = ", ".join(key.scopes)
        raise exceptions.PermissionDenied(f"This needs a key with the scope {scope}; this key has {scopes}.")
