"""The webhook endpoint of Django."""

from __future__ import annotations

import logging
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions

from cloudtrain_site.errors import error_body
from jobs.providers import find_kind
from jobs.providers.base import ProviderError
from jobs.providers.replicate.predictions import MARKER_PARAMETER
from jobs.webhooks import inbox, signing_secret

logger = logging.getLogger("simpletuner.cloud.webhooks")

#: A delivery carries the whole log.
MAX_BODY_BYTES = 10_000_000
REFUSED = "webhook_refused"


@csrf_exempt
def receive(request: HttpRequest, provider: str) -> HttpResponse:
    """Process a delivery: 200 for a good one, known job or not; 503 when it can't be verified now."""
    if find_kind(provider) != "replicate":
        raise Http404
    if request.method != "POST":
        refusal = exceptions.MethodNotAllowed(str(request.method))
        return JsonResponse(
            error_body(str(refusal.detail), refusal.default_code), status=405, headers={"Allow": "POST"}
        )
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        return _refuse(413, "A delivery may have at most 10 MB.")
    # Not request.body: that has the limit of ordinary requests.
    delivery = request.read(MAX_BODY_BYTES + 1)
    if len(delivery) > MAX_BODY_BYTES:
        return _refuse(413, "A delivery may have at most 10 MB.")
    webhook_request = inbox.WebhookRequest(
        headers={name.lower(): value for name, value in request.headers.items()},
        body=delivery,
        sender=request.META.get("REMOTE_ADDR", ""),
        marker=request.GET.get(MARKER_PARAMETER, "")[:40],
        provider=provider,
    )
    signing_secret.fetch_beforehand(provider)
    incoming = inbox.IncomingDelivery(webhook_request)
    inbox.process_batch([incoming])
    status, payload = response_to(incoming)
    return JsonResponse(payload, status=status)


def response_to(incoming: inbox.IncomingDelivery) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the response. Raises the error that kept the delivery from being stored."""
    try:
        status = incoming.status
    except ProviderError as error:
        logger.warning("Webhook could not be judged", extra={"error": str(error)})
        return 503, error_body("The signature can't be checked now. Try again.", REFUSED)
    return status, {"received": True} if status == 200 else error_body("This delivery is not accepted.", REFUSED)


def _refuse(status: int, detail: str) -> HttpResponse:
    return JsonResponse(error_body(detail, REFUSED), status=status)
