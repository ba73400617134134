"""The check of webhooks: whether a delivery would arrive, and could be verified."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from django.utils import timezone

from cloudtrain_site.correlation_ids import HEADER
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn
from jobs.doctor.asking import ask_all, enabled_providers, missing_access, reason_of
from jobs.doctor.providers import is_loopback, status_of
from jobs.health import lost_webhooks
from jobs.models import ProviderConfig, WebhookDelivery
from jobs.providers.replicate.access import access_of
from jobs.providers.replicate.predictions import webhook_address
from jobs.providers.replicate.provider import ReplicateProvider

#: What the endpoint answers to anything but a POST.
REFUSED = 405


def deliveries() -> Iterator[Finding]:
    """Check each webhook address by a request that the endpoint refuses and forgets. Nothing is delivered."""
    addressed = {
        config: provider
        for config, provider in enabled_providers().items()
        if isinstance(provider, ReplicateProvider) and config.webhook_url
    }
    if not addressed:
        yield skipped("No webhook address is set: jobs are polled.")
        return
    marks = {config.name: f"doctor-{secrets.token_hex(6)}" for config in addressed}
    questions: dict[str, Callable[[], Awaitable[Any]]] = {}
    for config, provider in addressed.items():
        address = webhook_address(config.webhook_url, "", config.name)
        questions[f"{config.name} address"] = partial(status_of, address, {HEADER: marks[config.name]})
        if not missing_access(provider):
            questions[f"{config.name} secret"] = provider.webhook_secret
    answers = ask_all(questions)
    for config in addressed:
        yield from _of_address(config, answers[f"{config.name} address"], marks[config.name])
        if isinstance(error := answers.get(f"{config.name} secret"), Exception):
            yield bad(f"{config.name} did not return the secret that signs deliveries: {error}", "REPLICATE_API_TOKEN")
    if lost := lost_webhooks():
        yield warn(lost, "Search the log for `webhook`, and check Webhook deliveries in the admin.")


def _of_address(config: ProviderConfig, answer: Any, mark: str) -> Iterator[Finding]:
    where = f"The webhook address of {config.name}, {config.webhook_url},"
    setting = f"webhook_url of {config.name}, in the admin: Provider configs"
    if is_loopback(config.webhook_url) and not is_loopback(access_of(config.name).base):
        yield bad(f"{where} is this machine's own, which the provider can't reach.", setting)
    elif isinstance(answer, Exception):
        reason = reason_of(answer)
        if "certificate" in reason.lower():
            yield bad(f"{where} has a certificate that is refused: {reason}.", "certbot renew")
        else:
            yield skipped(f"{where} can't be reached from here: {reason}.")
    elif answer.is_redirect:
        yield bad(f"{where} redirects to {answer.headers.get('Location')}: deliveries don't follow redirects.", setting)
    elif answer.status_code != REFUSED or answer.headers.get(HEADER) != mark:
        yield bad(f"{where} answers {answer.status_code}: it does not belong to this site.", setting)
    else:
        yield ok(f"{where} belongs to this site. {_newest(config.name)}")


def _newest(name: str) -> str:
    accepted = WebhookDelivery.objects.filter(provider=name, verdict=WebhookDelivery.Verdict.ACCEPTED)
    at = accepted.order_by("-pk").values_list("received_at", flat=True).first()
    return (
        "No delivery has arrived yet."
        if at is None
        else f"The newest delivery is {_age((timezone.now() - at).days)} old."
    )


def _age(days: int) -> str:
    return "less than a day" if not days else f"{days} day{'s' if days > 1 else ''}"
