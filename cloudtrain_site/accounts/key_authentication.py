"""Who asks, by an API key: its owner, within the key's scopes and its organization."""

from __future__ import annotations

import ipaddress
import logging
from datetime import timedelta
from hmac import compare_digest
from typing import Any

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.settings import CONSTANTS
from rest_framework import exceptions
from rest_framework.authentication import get_authorization_header
from rest_framework.request import Request

from cloudtrain_site.accounts.scopes import check_scope
from cloudtrain_site.accounts.second_factor.demand import check_key_owner
from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.limits import brakes
from cloudtrain_site.models import ApiKey

logger = logging.getLogger("simpletuner.cloud.http")

KEY_HEADER = "X-API-Key"
#: Recording every use of a key would make each read a write.
USE_RESOLUTION = timedelta(minutes=1)

_KEYS_BY_BEGINNING = Prepared(lambda beginning: ApiKey.objects.filter(token_key=beginning).select_related("user"))


class KeyAuthentication(TokenAuthentication):  # type: ignore[misc]
    """Authenticates `Authorization: Bearer KEY` or `X-API-Key: KEY` against the stored digests.

    The scope is checked here and not by a permission class: a view that has permission classes of its own can't leave
    it out.
    """

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        """Return the user and the key; None: neither header is there.

        Raises AuthenticationFailed for a bad key, PausedError for one of too many from one address, and
        PermissionDenied for one without the needed scope, or whose owner lacks a demanded second factor.
        """
        try:
            return self._authenticate(request)
        except exceptions.AuthenticationFailed:
            _count_bad_key(request)
            raise

    def _authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        key = request.headers.get(KEY_HEADER)
        if key is None and get_authorization_header(request)[:7].lower() != b"bearer ":
            return None
        try:
            user_and_key = (
                super().authenticate(request) if key is None else self.authenticate_credentials(key.strip().encode())
            )
        except UnicodeDecodeError:
            user_and_key = None
        if user_and_key is None:
            raise exceptions.AuthenticationFailed("This API key is not valid.")
        user, key_row = user_and_key
        check_scope(key_row, (request.parser_context or {}).get("view"), str(request.method))
        check_key_owner(user)
        _record_use(key_row, request.META.get("REMOTE_ADDR", ""))
        user.key_organization_id = key_row.organization_id
        return user, key_row

    def authenticate_credentials(self, token: bytes) -> tuple[Any, ApiKey]:
        """Return the user and the key of `token`. PostgreSQL refuses a query for a text with a NUL.

        In the library's place, which assembles the query anew for each request and deletes an expired key during one.
        """
        key = token.decode()
        for row in () if "\x00" in key else _KEYS_BY_BEGINNING(key[: CONSTANTS.TOKEN_KEY_LENGTH]):
            if compare_digest(hash_token(key), row.digest):
                return _checked(row)
        raise exceptions.AuthenticationFailed("This API key is not valid.")


def _checked(key: ApiKey) -> tuple[Any, ApiKey]:
    """Return the user and the key. Raises AuthenticationFailed for an expired key and for a deactivated user."""
    if key.is_expired:
        raise exceptions.AuthenticationFailed("This API key has expired. Ask for a new one.", code="key_expired")
    if not key.user.is_active:
        raise exceptions.AuthenticationFailed("The owner of this API key is deactivated.")
    return key.user, key


def _count_bad_key(request: Request) -> None:
    """Raises PausedError. A right key is never paused: of 256 random bits none is found by trying."""
    address = brakes.address_of(request)
    try:
        brakes.begin(brakes.API_KEY.key(address)).failed("An API key was refused", address=address)
    except DatabaseError as error:
        if noted_failure(error) is None:
            logger.warning("A refused API key could not be counted", extra={"error": str(error)})


def _record_use(key: ApiKey, address: str) -> None:
    """Record when and from where the key is used. A full disk must not fail the request."""
    now = timezone.now()
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USE_RESOLUTION)
    if key.last_used_at is None or key.last_used_at < now - USE_RESOLUTION:
        columns = {"last_used_at": now, "last_used_from": _valid_address(address)}
        try:
            ApiKey.objects.filter(stale, pk=key.pk).update(**columns)
        except DatabaseError as error:
            if noted_failure(error) is None:
                logger.warning("Use of an API key could not be noted", extra={"error": str(error)})


def _valid_address(text: str) -> str | None:
    """Return the address; None for what a server without one says, as behind a Unix socket."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
