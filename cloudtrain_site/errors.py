"""Every error in one shape: `detail`, `code`, `correlation_id`, and `errors` by field where there are fields."""

from __future__ import annotations

import logging
import sys
from typing import Any, TypeVar

from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions, status
from rest_framework.response import Response

from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.failures import Failure, noted_failure
from cloudtrain_site.extensions import frames

logger = logging.getLogger("simpletuner.cloud.http")

#: A sentence may repeat what was sent, up to 2.5 MB of it.
LONGEST_SENTENCE = 10_000
_BAD_ORIGIN = REASON_BAD_ORIGIN.partition("%s")[0]


class Conflict(exceptions.APIException):
    """The thing is not, or no longer, in a state in which this can be done."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class BodyTooLarge(exceptions.APIException):
    """More than any of our requests needs."""

    status_code = 413
    default_detail = "The request is larger than 2.5 MB."
    default_code = "too_large"


class ExpectedError(exceptions.APIException):
    """An answer in good order, though its status is 5xx: it needs no error line in the log."""


class RecordedError(exceptions.APIException):
    """An error that is put on record when it is answered: the transaction that it ended is over by then."""

    def record(self) -> None:
        raise NotImplementedError


def error_body(detail: str, code: str, errors: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Return the contract's error object."""
    body: dict[str, Any] = {"detail": _sendable(detail), "code": code, "correlation_id": get_correlation_id()}
    if errors:
        body["errors"] = {_sendable(field): [*map(_sendable, texts)] for field, texts in errors.items()}
    return body


def _sendable(text: str) -> str:
    """Return a text that may repeat what was sent, without halves of surrogate pairs, which no answer can contain."""
    return text[:LONGEST_SENTENCE].encode(errors="replace").decode()


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return DRF's answer to `error`; None: Django handles it."""
    if isinstance(error, Http404):
        error = exceptions.NotFound("Not found, or you don't have access to it.")
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    elif isinstance(error, RequestDataTooBig):
        error = BodyTooLarge()
    if not isinstance(error, exceptions.APIException):
        failure = noted_failure(error)
        return None if failure is None else _response_to(failure)
    if isinstance(error, RecordedError):
        error.record()
    response = Response(body_of(error), status=error.status_code)
    for header, value in _headers_of(error).items():
        response[header] = value
    return _logged(response) if isinstance(error, ExpectedError) else response


def _response_to(failure: Failure) -> Response:
    headers = retry_header(failure.retry_after)
    return _logged(Response(error_body(failure.detail, failure.code), status=failure.status, headers=headers))


R = TypeVar("R", bound=HttpResponse)


def _logged(response: R) -> R:
    """Keep Django from an error line for each such answer: `noted_failure` has logged a failure once."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def retry_header(seconds: int | None) -> dict[str, str]:
    """Return the header that says when to try again; None: nobody knows."""
    return {} if seconds is None else {"Retry-After": str(seconds)}


def body_of(error: exceptions.APIException) -> dict[str, Any]:
    """Return the contract's error object for an error of the API."""
    if isinstance(error, exceptions.ValidationError):
        return _validation_body(error.detail)
    code = error.get_codes()
    return error_body(str(error.detail), code if isinstance(code, str) else error.default_code)


def _validation_body(detail: Any) -> dict[str, Any]:
    if not isinstance(detail, dict):
        return error_body(" ".join(sentences_of(detail, with_fields=True)), "invalid")
    errors = {field: sentences_of(value, with_fields=True) for field, value in detail.items()}
    first_field, first_sentences = next(iter(errors.items()))
    prefix = "" if first_field == "non_field_errors" else f"{first_field}: "
    return error_body(prefix + first_sentences[0], "invalid", errors)


def sentences_of(detail: Any, *, with_fields: bool = False) -> list[str]:
    """Return the sentences of an APIException's `detail`, however nested; on demand each after its field."""
    if isinstance(detail, dict):
        return [
            f"{field}: {text}" if with_fields else text
            for field, item in detail.items()
            for text in sentences_of(item, with_fields=with_fields)
        ]
    if isinstance(detail, list | tuple):
        return [text for item in detail for text in sentences_of(item, with_fields=with_fields)]
    return [str(detail)]


def _headers_of(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    for name, header in (("auth_header", "WWW-Authenticate"), ("wait", "Retry-After")):
        value = getattr(error, name, None)
        if value:
            headers[header] = str(value)
    return headers


def _page(request: HttpRequest, template: str, status: int, **context: Any) -> HttpResponse:
    """Render an error in the frame of whoever is signed in; without it if the frame can't be had either."""
    frame: dict[str, Any] = {}
    try:
        if request.user.is_authenticated:
            for around in frames.values():
                frame |= around(request)
    except Exception:  # whatever failed first may fail here as well, and is logged
        frame = {}
    return render(request, template, {**frame, **context}, status=status)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def failure_response(request: HttpRequest, failure: Failure) -> HttpResponse:
    """Answer that the database or the disk fails, in JSON or as a page, without asking the database for anything."""
    headers = retry_header(failure.retry_after)
    if _is_api(request):
        body = error_body(failure.detail, failure.code)
        return _logged(JsonResponse(body, status=failure.status, headers=headers))
    page = render_to_string("failure.html", {"failure": failure})
    return _logged(HttpResponse(page, status=failure.status, headers=headers))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 outside of a DRF view. Behind a new proxy its first cause is a missing ALLOWED_HOSTS."""
    # Django takes a session that can't be saved for one that somebody has ended meanwhile.
    if failure := noted_failure(exception):
        return failure_response(request, failure)
    is_host = isinstance(exception, DisallowedHost)
    if _is_api(request):
        detail = "The request could not be understood."
        if is_host:
            detail = "This site doesn't have this host name. The site's operator can add it to ALLOWED_HOSTS."
        return JsonResponse(error_body(detail, "bad_request"), status=400)
    return defaults.bad_request(request, exception, "400_host.html" if is_host else "400.html")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 for a form: the page is too old, or the site doesn't know its proxy's address."""
    is_foreign = reason.startswith(_BAD_ORIGIN)
    return _page(request, "403_origin.html" if is_foreign else "403_csrf.html", 403)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 outside of a DRF view."""
    if _is_api(request):
        return JsonResponse(error_body("You don't have permission to do this.", "permission_denied"), status=403)
    return _page(request, "403.html", 403, exception=str(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404 outside of a DRF view."""
    if _is_api(request):
        return JsonResponse(error_body("There is nothing at this address.", "not_found"), status=404)
    return _page(request, "404.html", 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500: the log has the traceback, under the answer's correlation id."""
    # What a middleware raised, as when it saves a session; `FailureMiddleware` sees what a view raises.
    error = sys.exception()
    if error is not None and (failure := noted_failure(error)):
        return failure_response(request, failure)
    if _is_api(request):
        detail = "Something went wrong on our side. The log has the details under this correlation id."
        return JsonResponse(error_body(detail, "server_error"), status=500)
    return _page(request, "500.html", 500)
