"""API errors of this room alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core import exceptions as django_exceptions
from rest_framework import exceptions, serializers, status


class ProviderUnavailable(exceptions.APIException):
    """The provider could not be reached, or refused."""

    status_code = status.HTTP_502_BAD_GATEWAY
    default_code = "provider_unavailable"


@contextmanager
def field_errors() -> Iterator[None]:
    """Answer a verb's ValidationError as the API answers its own."""
    try:
        yield
    except django_exceptions.ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error
