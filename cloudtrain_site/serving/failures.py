"""Answers requests that a full, read-only or absent database fails: 507 or 503 with a sentence, not 500."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.errors import failure_response


class FailureMiddleware(MiddlewareMixin):
    """For pages, the admin, signing in, the admission of streams. DRF's own handler answers for its views."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        failure = noted_failure(exception)
        return None if failure is None else failure_response(request, failure)
