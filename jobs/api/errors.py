"""API errors of this room alone."""

from __future__ import annotations

from rest_framework import exceptions, status


class ProviderUnavailable(exceptions.APIException):
    """The provider could not be reached, or refused."""

    status_code = status.HTTP_502_BAD_GATEWAY
    default_code = "provider_unavailable"
