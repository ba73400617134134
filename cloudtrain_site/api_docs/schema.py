"""The parts of the OpenAPI schema that its generator can't derive: keys, summaries, and each operation's errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import getdoc
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import alpha_operation_sorter, get_doc
from drf_spectacular.types import OpenApiTypes
from rest_framework import exceptions, serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import SAFE_METHODS

from cloudtrain_site.accounts.key_authentication import KEY_HEADER
from cloudtrain_site.accounts.scopes import ByHand, needed_scope
from cloudtrain_site.api import query_of
from cloudtrain_site.database.failures import AWAY, FULL
from cloudtrain_site.errors import BodyTooLarge, Conflict
from cloudtrain_site.limits.brakes import PausedError
from cloudtrain_site.limits.errors import LimitReachedError

Error = type[exceptions.APIException]

MEANINGS: dict[Error, str] = {
    exceptions.ValidationError: "The request has a value that is missing, unknown or not allowed.",
    exceptions.NotAuthenticated: "There is no session, or no valid key.",
    exceptions.PermissionDenied: "The user doesn't have permission to do this.",
    exceptions.NotFound: "Not found, or the user can't see it.",
    exceptions.NotAcceptable: "The answer isn't available in a format that the request accepts.",
    Conflict: "The current state doesn't allow this.",
    BodyTooLarge: "The body is too large.",
    exceptions.UnsupportedMediaType: "The type of the body is not supported.",
}


def order_of(endpoint: tuple[str, str, str, Any]) -> tuple[bool, Any]:
    """Return the place of an operation in the schema: by its address, those for others' programs last."""
    return hasattr(endpoint[3].cls, "schema_tag"), alpha_operation_sorter(endpoint)  # type: ignore[no-untyped-call]


class UnavailableError(exceptions.APIException):
    """The database does not answer now, or is busy. `Retry-After` says when to try again."""

    status_code = AWAY.status


class NotSavedError(exceptions.APIException):
    """The disk is full, or the database can't be written to: nothing was saved."""

    status_code = FULL.status


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Both headers of an API key."""

    target_class = "cloudtrain_site.accounts.key_authentication.KeyAuthentication"
    name = ["bearerKey", "headerKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [{"type": "http", "scheme": "bearer"}, {"type": "apiKey", "in": "header", "name": KEY_HEADER}]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either of the two is enough."""
        return [{name: []} for name in self.name]


class ErrorSerializer(serializers.Serializer[Any]):
    """The body of every error, whatever its status code."""

    detail = serializers.CharField(help_text="What is wrong, as a sentence for a person.")
    code = serializers.CharField(help_text="The kind of error, for programs. It doesn't change.")
    correlation_id = serializers.CharField(help_text="Finds the request in the logs.")
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="The errors of each field of the request, if fields caused them.",
    )


class OperationSchema(AutoSchema):
    """An operation's summary is the first line of its method's docstring; its errors follow from what it takes."""

    def get_operation(self, *args: Any) -> dict[str, Any] | None:
        """Return the operation with its errors; None: it is hidden."""
        operation: dict[str, Any] | None = super().get_operation(*args)
        if operation is not None:
            answers = operation["responses"]
            # Of the two that are answered with 429, a limit of the operation's own is the one to name.
            refused_keys = (PausedError,) if operation.get("security") else ()
            for error in (*self._errors_of(operation), *getattr(self._method(), "errors", ()), *refused_keys):
                answers.setdefault(str(error.status_code), self._answer_with(error))
            operation["responses"] = dict(sorted(answers.items()))
        return operation

    def get_tags(self) -> list[str]:
        """Return the tag of a view that is there for others' programs; else the one of the address."""
        tag = getattr(self.view, "schema_tag", "")
        return [tag] if tag else super().get_tags()

    def get_operation_id(self) -> str:
        if not self._has_own_tag():
            return super().get_operation_id()
        # By the whole address: several of them would get one name.
        words = re.findall(r"\w+", self.path.removeprefix("/api/"))
        return "_".join([*self.get_tags(), self.method, *words]).lower()

    def get_request_serializer(self) -> Any:
        return None if self._has_own_tag() else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        """Answers for others' programs are as those expect them: objects, which nobody else is to read."""
        return OpenApiTypes.OBJECT if self._has_own_tag() else super().get_response_serializers()

    def _has_own_tag(self) -> bool:
        return hasattr(self.view, "schema_tag")

    def get_summary(self) -> str:
        return self._texts()[0]

    def get_description(self) -> str:  # type: ignore[override]
        """Return the docstring's further lines, and the scope that a key needs."""
        return "\n\n".join(filter(None, [self._texts()[1], self._keys_text()]))

    def _keys_text(self) -> str:
        if not self.view.get_authenticators():
            return ""
        scope = None if ByHand in self.view.permission_classes else needed_scope(self.view, self.method)
        return f"A key needs the scope `{scope}`." if scope else "Keys can't do this: it needs a session."

    def _texts(self) -> tuple[str, str]:
        summary, _, description = str(get_doc(self._method())).partition("\n")
        return summary.rstrip("."), description.strip()

    def _method(self) -> Any:
        return getattr(self.view, getattr(self.view, "action", None) or self.method.lower())

    def get_override_parameters(self) -> list[Any]:
        """Return the query parameters that the method takes."""
        query = query_of(self._method())
        return [query] if query().fields else []

    def _is_list_view(self, serializer: Any = None) -> bool:
        """Return False: a list is a field of an object, so that fields can be added beside it."""
        return False

    def _errors_of(self, operation: dict[str, Any]) -> Iterator[Error]:
        """Yield the errors that follow from the operation's parameters and permissions."""
        places = {parameter["in"] for parameter in operation.get("parameters", ())}
        takes_body = "requestBody" in operation
        yield exceptions.ValidationError  # of the query, at least
        if operation.get("security"):
            yield exceptions.NotAuthenticated
            yield exceptions.PermissionDenied  # to a key without the scope, at least
        if "path" in places:
            yield exceptions.NotFound
        if isinstance(self.view.get_content_negotiator(), DefaultContentNegotiation):
            yield exceptions.NotAcceptable
        if takes_body:
            yield from (BodyTooLarge, exceptions.UnsupportedMediaType)
        if self.view.get_throttles():
            yield LimitReachedError
        if operation.get("security"):  # the others ask no database, or say themselves what they answer without one
            yield UnavailableError
            if self.method not in SAFE_METHODS:
                yield NotSavedError

    def _answer_with(self, error: Error) -> dict[str, Any]:
        schema = self.resolve_serializer(ErrorSerializer, "response").ref
        # The error of a room says by its docstring what it means.
        meaning = MEANINGS.get(error) or getdoc(error)
        return {"content": {"application/json": {"schema": schema}}, "description": meaning}
