"""The common parts of the API's views: authentication, strict reading of requests, and fields of answers."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from knox.auth import TokenAuthentication
from rest_framework import exceptions, serializers
from rest_framework.authentication import get_authorization_header
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.errors import BodyTooLarge
from cloudtrain_site.limits import brakes
from cloudtrain_site.models import ApiKey

logger = logging.getLogger("simpletuner.cloud.http")

KEY_HEADER = "X-API-Key"
#: Of a page: together with its limit a number that both databases take.
MAX_OFFSET = 2**53
#: Recording every use of a key would make each read a write.
USE_RESOLUTION = timedelta(minutes=1)
#: Of a body's JSON. Whatever walks a value one call a level stays far from Python's own limit of 1000 calls.
MAX_JSON_DEPTH = 100
TOO_DEEP = "The JSON is nested too deeply."


class KeyAuthentication(TokenAuthentication):  # type: ignore[misc]
    """Authenticates `Authorization: Bearer KEY` or `X-API-Key: KEY` against the stored digests."""

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        """Return the user and the key; None: neither header is there.

        Raises AuthenticationFailed for a bad key, and PausedError for one of too many from one address.
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
        _record_use(key_row)
        return user, key_row

    def authenticate_credentials(self, token: bytes) -> tuple[Any, ApiKey]:
        """Return the user and the key of `token`. PostgreSQL refuses a query for a text with a NUL."""
        if b"\x00" in token:
            raise exceptions.AuthenticationFailed("This API key is not valid.")
        user, key_row = super().authenticate_credentials(token)
        return user, key_row

    def validate_user(self, auth_token: ApiKey) -> tuple[Any, ApiKey]:
        """Refuse the key of a deactivated user."""
        if not auth_token.user.is_active:
            raise exceptions.AuthenticationFailed("The owner of this API key is deactivated.")
        return auth_token.user, auth_token

    def _cleanup_token(self, auth_token: ApiKey) -> bool:
        """Raise for an expired key another error than for an unknown one, and delete nothing during a request."""
        if auth_token.expiry is not None and auth_token.expiry <= timezone.now():
            raise exceptions.AuthenticationFailed("This API key has expired. Ask for a new one.", code="key_expired")
        return False


def _count_bad_key(request: Request) -> None:
    """Raises PausedError. A right key is never paused: of 256 random bits none is found by trying."""
    address = brakes.address_of(request)
    try:
        brakes.begin(brakes.API_KEY.key(address)).failed("An API key was refused", address=address)
    except DatabaseError as error:
        if noted_failure(error) is None:
            logger.warning("A refused API key could not be counted", extra={"error": str(error)})


def _record_use(key: ApiKey) -> None:
    """Record that the key is used. A full disk must not fail the request."""
    now = timezone.now()
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USE_RESOLUTION)
    if key.last_used_at is None or key.last_used_at < now - USE_RESOLUTION:
        try:
            ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
        except DatabaseError as error:
            if noted_failure(error) is None:
                logger.warning("Use of an API key could not be noted", extra={"error": str(error)})


class BoundedJSONParser(JSONParser):
    """Parses JSON of bounded size and depth: a client must not choose how much memory or stack a request takes.

    A byte order mark before the JSON, as editors on Windows write one, is passed over.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the body. Raises BodyTooLarge or ParseError."""
        length = int(parser_context["request"].META.get("CONTENT_LENGTH") or 0)
        if length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise BodyTooLarge
        if codecs.lookup(parser_context["encoding"]).name == "utf-8":
            parser_context = {**parser_context, "encoding": "utf-8-sig"}
        try:
            value = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise exceptions.ParseError(TOO_DEEP) from error
        if is_deeper_than(MAX_JSON_DEPTH, value):
            raise exceptions.ParseError(TOO_DEEP)
        return value


def is_deeper_than(limit: int, value: Any) -> bool:
    """Whether more than `limit` objects and lists are in one another in `value`, which is looked through by levels."""
    level = [value]
    for _ in range(limit):
        nested = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in nested for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def current_user(request: HttpRequest | Request) -> User:
    """Return the request's user. Raises NotAuthenticated for an anonymous one."""
    user = request.user
    if not isinstance(user, User):
        raise exceptions.NotAuthenticated
    return user


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields by name: a misspelled one must not be taken for a default."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values. Raises ValidationError naming each unknown field."""
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                fields = ", ".join(sorted(self.fields))
                raise serializers.ValidationError(
                    {name: [f"Unknown field. Known are: {fields}."] for name in map(str, unknown)}
                )
        return super().to_internal_value(data)


def checked(serializer: type[BaseSerializer[Any]], data: Any) -> dict[str, Any]:
    """Return the values in `data` that `serializer` accepts. Raises ValidationError."""
    bound = serializer(data=data)
    bound.is_valid(raise_exception=True)
    values: dict[str, Any] = bound.validated_data
    return values


def rendered(serializer: type[BaseSerializer[Any]], value: Any, status: int = 200) -> Response:
    """Return the response with `value` as `serializer` renders and documents it."""
    return Response(serializer(value).data, status=status)


View = TypeVar("View", bound=Callable[..., Any])


def raises(*errors: type[exceptions.APIException]) -> Callable[[View], View]:
    """Document a view method's `errors` that the schema can't derive from its parameters."""

    def note(method: View) -> View:
        method.errors = errors  # type: ignore[attr-defined]
        return method

    return note


def as_utc(at: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with milliseconds and a `Z`."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class UtcField(serializers.DateTimeField):
    """A time in the format of `as_utc`."""

    def to_representation(self, value: datetime) -> str:
        return str(as_utc(value))


class OptionalTextField(serializers.CharField):
    """A text; null stands for an empty one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, **options)

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]
        return super().to_representation(value) or None


class BeginningField(OptionalTextField):
    """The beginning of a text; null stands for an empty one."""

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]
        return beginning(super().to_representation(value) or "") or None


class SuccessField(serializers.BooleanField):
    """Always true: what went wrong is an error, with a status code of its own."""

    def __init__(self) -> None:
        super().__init__(read_only=True, default=True)
