"""The header Content-Security-Policy. Its text is made once for all responses that don't have one of their own."""

from __future__ import annotations

from functools import cache

from csp.constants import HEADER
from csp.middleware import CheckableLazyObject, CSPMiddleware
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

#: What the library's decorators set on a response.
_OF_ITS_OWN = {"_csp_config", "_csp_update", "_csp_replace", "_csp_exempt"}


class ContentPolicyMiddleware(CSPMiddleware):
    """The library's, which assembles the text anew for each response, at a thirtieth of what a submission costs."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        has_nonce = getattr(request, "_csp_nonce", None) is not None
        if settings.DEBUG or has_nonce or _OF_ITS_OWN & vars(response).keys():
            return super().process_response(request, response)
        response.headers.setdefault(HEADER, _usual_policy())
        # As in the library: a nonce that is made now would be in no header.
        request.csp_nonce = CheckableLazyObject(self._csp_nonce_post_response)  # type: ignore[attr-defined]
        return response


@cache
def _usual_policy() -> str:
    return build_policy()
