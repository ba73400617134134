"""The common parts of the API's views: strict reading of requests, and fields of answers."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework import exceptions, serializers
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.errors import BodyTooLarge

#: Of a page: together with its limit a number that both databases take.
MAX_OFFSET = 2**53
#: Of a body's JSON. Whatever walks a value one call a level stays far from Python's own limit of 1000 calls.
MAX_JSON_DEPTH = 100
#: Of a list or an object whose items are checked one by one, where the field says nothing else.
MAX_ITEMS = 1000
#: An answer names no more unknown fields.
MAX_UNKNOWN = 20
TOO_DEEP = "The JSON is nested too deeply."

View = TypeVar("View", bound=Callable[..., Any])
T = TypeVar("T")


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


def remembered(request: HttpRequest, name: str, answer: Callable[[], T]) -> T:
    """Return `answer()`, called once a request. The admin's sidebar alone asks a dozen times who somebody is."""
    kept: dict[str, T] = request.__dict__.setdefault("_remembered", {})
    if name not in kept:
        kept[name] = answer()
    return kept[name]


class StrictSerializer(serializers.Serializer[Any]):
    """Unknown fields are refused by name."""

    # A misspelled name must not be taken for a default.
    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values. Raises ValidationError naming each unknown field."""
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                fields = ", ".join(sorted(self.fields))
                raise serializers.ValidationError(
                    {name: [f"Unknown field. Known fields: {fields}."] for name in map(str, unknown[:MAX_UNKNOWN])}
                )
            self._refuse_long(data)
        return super().to_internal_value(data)

    def _refuse_long(self, data: dict[Any, Any]) -> None:
        """Raises ValidationError for too many items. DRF counts them after it has checked, and answered, each."""
        for name, field in self.fields.items():
            value, most = data.get(name), getattr(field, "max_length", None) or MAX_ITEMS
            if isinstance(value, list | dict) and len(value) > most and _checks_items(field):
                sentence = serializers.ListField.default_error_messages["max_length"]
                raise serializers.ValidationError({name: [sentence.format(max_length=most)]})


def _checks_items(field: serializers.Field[Any, Any, Any, Any]) -> bool:
    """Whether each item of the list or object is checked: a config and its like have no field for their items."""
    has_items = isinstance(field, serializers.ListField | serializers.DictField)
    return has_items and type(field.child) is not type(serializers.ListField.child)  # type: ignore[attr-defined]


def checked(serializer: type[BaseSerializer[Any]], data: Any) -> dict[str, Any]:
    """Return the values in `data` that `serializer` accepts. Raises ValidationError."""
    bound = copy(_with_fields(serializer))  # type: ignore[arg-type]  # a class has a hash
    bound.initial_data = data
    bound.is_valid(raise_exception=True)
    values: dict[str, Any] = bound.validated_data
    return values


@cache
def _with_fields(serializer: type[BaseSerializer[Any]]) -> BaseSerializer[Any]:
    """Return a serializer to copy, with its fields: to make these takes longer than to read or to write a body.

    The copies share the fields, so that no field may keep anything of a request or of the settings.
    """
    made = serializer()
    _ = getattr(made, "fields", None)
    return made


def handler_of(view: Any, http_method: str) -> Any:
    """Return the view's method that answers; None: there is none, and the answer is 405."""
    actions = getattr(view, "action_map", None) or {}
    return getattr(view, actions.get(http_method.lower(), http_method.lower()), None)


def takes(query: type[StrictSerializer]) -> Callable[[View], View]:
    """Declare the query parameters of a view's method, which finds their values in `self.query`."""

    def declare(method: View) -> View:
        method.query = query  # type: ignore[attr-defined]
        return method

    return declare


def query_of(method: Any) -> type[StrictSerializer]:
    """Return the serializer of the query parameters that a view's method declares."""
    query: type[StrictSerializer] = getattr(method, "query", StrictSerializer)
    return query


def rendered(serializer: type[BaseSerializer[Any]], value: Any, status: int = 200, *, kept: bool = False) -> Response:
    """Return the response with `value` as `serializer` renders and documents it.

    `kept`: the serializer's fields are made once. Neither it nor one in it may keep anything of a value.
    """
    bound = copy(_with_fields(serializer)) if kept else serializer()  # type: ignore[arg-type]  # a class has a hash
    bound.instance = value
    return Response(bound.data, status=status)


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
