"""Webhook deliveries: verified, stored, applied once. Repeated, late and lost ones do no harm."""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from time import monotonic, time
from typing import Any

from django.db import DataError, IntegrityError
from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.correlation_ids import correlation, get_correlation_id
from cloudtrain_site.database.batches import delete_in_batches
from cloudtrain_site.database.fast_sql import insert_one
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.redaction import mask_secrets
from jobs.configs.secrets import without_secrets
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.models.webhook import APPLICABLE, HAS_ID, IS_APPLICABLE
from jobs.providers.base import ProviderError
from jobs.providers.replicate.predictions import MARKER, is_prediction, read_snapshot
from jobs.statuses import PROVIDER_WORDS, TERMINAL
from jobs.webhooks import signing_secret
from jobs.webhooks.apply import apply_each
from jobs.webhooks.signatures import Check, check

logger = logging.getLogger("simpletuner.cloud.webhooks")

Verdict = WebhookDelivery.Verdict
#: Up to this many within a second are applied before they are answered; a burst is left to a task.
BURST_DELIVERIES = 10
BURST_SECONDS = 2.0
TASK_PAUSE_SECONDS = 1.0
#: A longer log isn't stored with its delivery: it is fetched from the provider again.
MAX_LOG_CHARACTERS = 100_000
#: Refused deliveries that are recorded; anybody could fill the table with more.
MAX_REFUSALS_PER_HOUR = 500
REFUSAL_STATUSES = {Verdict.FOREIGN: 403, Verdict.FORGED: 401, Verdict.STALE: 401, Verdict.MALFORMED: 400}
_VERDICTS = {Check.VALID: Verdict.ACCEPTED, Check.FORGED: Verdict.FORGED, Check.STALE: Verdict.STALE}


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request as it came; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes
    sender: str
    marker: str = ""
    #: The name of the provider to whose address it came.
    provider: str = "replicate"


@dataclass
class IncomingDelivery:
    """A request in progress: its verdict, and its row once it is good. `error` is why it could not be stored."""

    request: WebhookRequest
    verdict: WebhookDelivery.Verdict = Verdict.MALFORMED
    delivery: WebhookDelivery | None = None
    body: Mapping[str, Any] | None = None
    error: Exception | None = None
    correlation_id: str = field(default_factory=get_correlation_id)

    @property
    def status(self) -> int:
        """The HTTP status to answer with. Raises the error that kept the delivery from being stored.

        That is a ProviderError when the secret can't be fetched: then the sender has to try again.
        """
        if self.error is not None:
            raise self.error
        return REFUSAL_STATUSES.get(self.verdict, 200)


_lock = threading.Lock()


def process_batch(batch: Sequence[IncomingDelivery]) -> None:
    """Verify deliveries, store them in one commit, and apply the good ones. Raises nothing: the batch has the errors.

    In a burst they are only stored, and applied by a task: the response must not wait for that.
    """
    try:
        # One thread at a time: they would only wait for SQLite's one writer.
        with _lock:
            _process(batch)
    except Exception as error:
        for incoming in batch:
            incoming.error = incoming.error or error


def _process(batch: Sequence[IncomingDelivery]) -> None:
    names = {incoming.request.provider for incoming in batch}
    configs = ProviderConfig.of_all(names)
    for incoming in batch:
        with correlation(incoming.correlation_id):
            _judge_one(incoming, configs[incoming.request.provider])
    accepted = [incoming for incoming in batch if incoming.delivery is not None]
    for name in {incoming.request.provider for incoming in accepted}:
        if configs[name].webhooks_missed_at is not None:
            ProviderConfig.objects.filter(pk=name).update(webhooks_missed_at=None)
            logger.info("Webhooks arrive again", extra={"provider": name})
    new = _store(accepted)
    if _burst.add(len(batch)):
        _request_apply_task()
    else:
        apply_each([(one.delivery, read_snapshot(one.body)) for one in new if one.delivery], configs)


def _judge_one(incoming: IncomingDelivery, config: ProviderConfig) -> None:
    request = incoming.request
    try:
        incoming.verdict = _judge(request, config)
    except ProviderError as error:
        incoming.error = error
        return
    if incoming.verdict in APPLICABLE:
        body = _parsed(request.body)
        if is_prediction(body):
            incoming.body, incoming.delivery = body, _delivery(request, incoming.verdict, body)
            return
        incoming.verdict = Verdict.MALFORMED
    _store_refusal(request, incoming.verdict)


def _judge(request: WebhookRequest, config: ProviderConfig) -> WebhookDelivery.Verdict:
    if not may_deliver(request.sender, config.webhook_networks):
        return Verdict.FOREIGN
    is_signed = any(name.startswith("webhook-") for name in request.headers)
    if not is_signed:
        return Verdict.FORGED if config.signature_required else Verdict.UNSIGNED
    secret = signing_secret.secret(request.provider)
    result = check(request.headers, request.body, secret, time())
    if result == Check.FORGED and (fresh := signing_secret.fresh_secret(request.provider, secret)):
        result = check(request.headers, request.body, fresh, time())
    return _VERDICTS.get(result, Verdict.FORGED)


def may_deliver(sender: str, networks: str) -> bool:
    """Whether `networks`, one a line, contain the sender; an empty list allows everybody."""
    allowed = networks.split()
    if not allowed:
        return True
    try:
        address = ipaddress.ip_address(sender)
        return any(address in ipaddress.ip_network(network, strict=False) for network in allowed)
    except ValueError:
        return False


def _parsed(body: bytes) -> Any:
    """Return the body as JSON; None for anything else. NaN and infinity are refused, since no database stores them."""
    try:
        return json.loads(body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is not a number in JSON")
    return number


def _delivery(request: WebhookRequest, verdict: WebhookDelivery.Verdict, body: Mapping[str, Any]) -> WebhookDelivery:
    """Return the row, without secrets: the payload without its log, which is stored with the job."""
    match = MARKER.search(request.marker)
    payload = {name: value for name, value in body.items() if name not in ("logs", "input")}
    return WebhookDelivery(
        provider=request.provider,
        delivery_id=request.headers.get("webhook-id", "")[:200],
        verdict=verdict,
        sender=_address(request.sender),
        marker=match[0] if match else "",
        external_id=body["id"],
        payload=_storable(payload) if b"\\u" in request.body else payload,
        log=_log_of(body),
    )


def _storable(payload: Any) -> Any:
    """Replace what PostgreSQL doesn't store, in JSON either: NUL and halves of surrogate pairs."""
    text = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace").decode()
    return json.loads(text.replace("\\u0000", " "))


def _log_of(body: Mapping[str, Any]) -> str:
    """Return the log of an ended training, which Replicate deletes. A running one sends all of it again."""
    log = body.get("logs")
    if (
        not isinstance(log, str)
        or len(log) > MAX_LOG_CHARACTERS
        or PROVIDER_WORDS.get(str(body.get("status"))) not in TERMINAL
    ):
        return ""
    return log.encode("utf-8", "replace").decode().replace("\x00", " ")


def _address(sender: str) -> str | None:
    try:
        return str(ipaddress.ip_address(sender))
    except ValueError:
        return None


def _store_refusal(request: WebhookRequest, verdict: WebhookDelivery.Verdict) -> None:
    logger.warning("Webhook refused: %s", verdict.label, extra={"provider": request.provider, "sender": request.sender})
    recent = WebhookDelivery.objects.filter(received_at__gte=timezone.now() - timedelta(hours=1))
    if recent.exclude(verdict__in=APPLICABLE)[:MAX_REFUSALS_PER_HOUR].count() < MAX_REFUSALS_PER_HOUR:
        WebhookDelivery.objects.create(
            provider=request.provider,
            delivery_id=request.headers.get("webhook-id", "").replace("\x00", "")[:200],
            verdict=verdict,
            sender=_address(request.sender),
        )


def _store(batch: list[IncomingDelivery]) -> list[IncomingDelivery]:
    """Store the new deliveries in one statement and return them; a repeated one is only counted."""
    # Before the transaction, which blocks other writers.
    _mask([incoming.delivery for incoming in batch if incoming.delivery is not None])
    for looks_first in (False, True):
        # Few are repeated, and to look for them first is a quarter of the work: the database refuses them.
        with suppress(IntegrityError, DataError), unit_of_work():
            return _store_new(batch, looks_first=looks_first)
    # Another process has just stored one of them, or one can't be stored: each gets its own transaction.
    return [stored for incoming in batch for stored in _store_alone(incoming)]


def _store_alone(incoming: IncomingDelivery) -> list[IncomingDelivery]:
    try:
        with unit_of_work():
            return _store_new([incoming], looks_first=True)
    except (IntegrityError, DataError) as error:
        incoming.error = error
        return []


def _store_new(batch: list[IncomingDelivery], *, looks_first: bool) -> list[IncomingDelivery]:
    ids = [incoming.delivery.delivery_id for incoming in batch if incoming.delivery and incoming.delivery.delivery_id]
    stored = WebhookDelivery.objects.filter(
        IS_APPLICABLE & HAS_ID, provider__in={incoming.request.provider for incoming in batch}, delivery_id__in=ids
    )
    stored_identities = set(stored.values_list("provider", "delivery_id")) if looks_first else set()
    new: list[IncomingDelivery] = []
    repeated: list[tuple[str, str]] = []
    for incoming in batch:
        assert incoming.delivery is not None
        identity = (incoming.delivery.provider, incoming.delivery.delivery_id)
        if identity[1] and identity in stored_identities:
            repeated.append(identity)
            logger.debug("Webhook came again", extra={"external_id": incoming.delivery.external_id})
            continue
        stored_identities.add(identity)
        incoming.delivery.pk = None
        new.append(incoming)
    rows = [incoming.delivery for incoming in new if incoming.delivery is not None]
    if len(rows) == 1:
        insert_one(rows[0])
    else:
        WebhookDelivery.objects.bulk_create(rows)
    for provider, delivery_id in repeated:
        stored.filter(provider=provider, delivery_id=delivery_id).update(repeats=F("repeats") + 1)
    return new


_WITH_SECRETS = Prepared(
    lambda *texts: (
        Job.objects.filter(Q(external_id__in=texts) | Q(submission_marker__in=texts))
        .exclude(sealed="")
        .only("provider", "external_id", "submission_marker", "sealed")
    )
)


def _mask(deliveries: Sequence[WebhookDelivery]) -> None:
    """Mask the secrets in the payloads; first the jobs' own, of any form, which a trainer may repeat in its error."""
    with_text = [one for one in deliveries if one.log or (one.payload or {}).get("error")]
    names = {text for one in with_text for text in (one.external_id, one.marker) if text}
    jobs = _WITH_SECRETS.of_each(list(names))
    for delivery in deliveries:
        for job in (job for job in jobs if job.provider == delivery.provider):
            if job.external_id == delivery.external_id or job.submission_marker == delivery.marker:
                delivery.payload = json.loads(without_secrets(job, json.dumps(delivery.payload)))
                delivery.log = without_secrets(job, delivery.log)
        delivery.payload = mask_secrets(delivery.payload)


class _Burst:
    """Detects a burst: so many deliveries that only storing them can keep pace."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self.task_requested_at = float("-inf")
        #: Whether deliveries were stored since the last task was requested.
        self.is_task_owed = False
        self._recent: deque[float] = deque(maxlen=BURST_DELIVERIES + 1)

    def add(self, count: int) -> bool:
        """Count deliveries. Returns whether there is a burst now."""
        now = monotonic()
        self._recent.extend([now] * count)
        if len(self._recent) > BURST_DELIVERIES and now - self._recent[0] < 1:
            self.until = now + BURST_SECONDS
        return now < self.until


_burst = _Burst()


def is_burst() -> bool:
    """Whether so many come that it pays to wait a moment, and to process the next ones together."""
    return monotonic() < _burst.until


def _request_apply_task() -> None:
    """Have a task apply the stored deliveries; one a second is enough, and the maintenance loop finds the rest."""
    now = monotonic()
    _burst.is_task_owed = now - _burst.task_requested_at < TASK_PAUSE_SECONDS
    if not _burst.is_task_owed:
        _burst.task_requested_at = now
        with unit_of_work():  # in the write queue: outside of it this could fail for long
            async_task("jobs.tasks.apply_webhooks")


def after_burst() -> None:
    """Have a task apply the deliveries that came after the last task was requested. Raises nothing."""
    if _burst.is_task_owed:
        _burst.task_requested_at = float("-inf")
        try:
            _request_apply_task()
        except Exception:
            logger.exception("Webhooks wait for the upkeep to apply them")


def trim(before: datetime, until: float) -> int:
    """Delete the deliveries of before that, see `extensions.Kept`. Returns how many."""
    return delete_in_batches(WebhookDelivery.objects.filter(received_at__lt=before).order_by(), until=until)
