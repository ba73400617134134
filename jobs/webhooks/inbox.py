"""What providers tell us by themselves: judged, kept, applied once; doubled, late and lost ones do no harm."""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import isfinite
from time import monotonic, time
from typing import Any

from django.db import DataError, IntegrityError
from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.correlation_ids import correlation, get_correlation_id
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.redaction import mask_secrets
from jobs.config_secrets import without_secrets
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.models.webhook import APPLICABLE, HAS_ID, IS_APPLICABLE
from jobs.providers.base import ProviderError
from jobs.providers.replicate.predictions import MARKER, is_prediction, read_snapshot
from jobs.statuses import PROVIDER_WORDS, TERMINAL
from jobs.webhooks import signing_secret
from jobs.webhooks.apply import REPLICATE, apply_each
from jobs.webhooks.signatures import Check, check

logger = logging.getLogger("simpletuner.cloud.webhooks")

Verdict = WebhookDelivery.Verdict
KEEP = timedelta(days=30)
#: So many within a second are applied before they are answered; more, and what follows them, are left to a task.
AT_ONCE = 10
RUSH_SECONDS = 2.0
ASK_PAUSE = 1.0
#: A longer one doesn't wait with its delivery: it is fetched from the provider again. Characters.
LONGEST_LOG = 100_000
#: So many refused deliveries an hour are put on record; anybody may send us more of them.
REFUSALS_AN_HOUR = 500
REFUSED_CODES = {Verdict.FOREIGN: 403, Verdict.FORGED: 401, Verdict.STALE: 401, Verdict.MALFORMED: 400}
_VERDICTS = {Check.VALID: Verdict.ACCEPTED, Check.FORGED: Verdict.FORGED, Check.STALE: Verdict.STALE}


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request at our door, as it came; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes
    sender: str
    marker: str = ""


@dataclass
class IncomingDelivery:
    """An arrival on its way: what is thought of it, and what is made of it. `error` is what kept it from being kept."""

    request: WebhookRequest
    verdict: WebhookDelivery.Verdict = Verdict.MALFORMED
    delivery: WebhookDelivery | None = None
    body: Mapping[str, Any] | None = None
    error: Exception | None = None
    correlation_id: str = field(default_factory=get_correlation_id)

    @property
    def status(self) -> int:
        """The HTTP status to answer with. Raises what kept it from being kept.

        That is a ProviderError when the secret can't be had: then the sender has to try again.
        """
        if self.error is not None:
            raise self.error
        return REFUSED_CODES.get(self.verdict, 200)


_turn = threading.Lock()


def process_batch(batch: Sequence[IncomingDelivery]) -> None:
    """Judge deliveries, keep them with one commit for all, and apply the good ones. Raises nothing: the batch tell.

    Where many come within a second they are only kept, and applied by a task: the answer must not wait for that.
    """
    try:
        # One after the other: the threads of this process would only fight for SQLite's one writer.
        with _turn:
            _take(batch)
    except Exception as error:
        for incoming in batch:
            incoming.error = incoming.error or error


def _take(batch: Sequence[IncomingDelivery]) -> None:
    config = ProviderConfig.objects.filter(pk=REPLICATE).first() or ProviderConfig(name=REPLICATE)
    for incoming in batch:
        with correlation(incoming.correlation_id):
            _judge_one(incoming, config)
    good = [incoming for incoming in batch if incoming.delivery is not None]
    if good and config.webhooks_missed_at is not None:
        ProviderConfig.objects.filter(pk=REPLICATE).update(webhooks_missed_at=None)
        logger.info("Webhooks arrive again")
    new = _keep(good)
    if _burst.grows(len(batch)):
        _request_application()
    else:
        apply_each([(one.delivery, read_snapshot(one.body)) for one in new if one.delivery])


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
    _keep_refusal(request, incoming.verdict)


def _judge(request: WebhookRequest, config: ProviderConfig) -> WebhookDelivery.Verdict:
    if not may_deliver(request.sender, config.webhook_networks):
        return Verdict.FOREIGN
    signed = any(name.startswith("webhook-") for name in request.headers)
    if not signed:
        return Verdict.FORGED if config.signature_required else Verdict.UNSIGNED
    secret = signing_secret.secret()
    found = check(request.headers, request.body, secret, time())
    if found == Check.FORGED and (fresh := signing_secret.fresh_secret(secret)):
        found = check(request.headers, request.body, fresh, time())
    return _VERDICTS.get(found, Verdict.FORGED)


def may_deliver(sender: str, networks: str) -> bool:
    """Whether the operator's list, one network a line, has the sender; an empty list has everybody."""
    allowed = networks.split()
    if not allowed:
        return True
    try:
        address = ipaddress.ip_address(sender)
        return any(address in ipaddress.ip_network(network, strict=False) for network in allowed)
    except ValueError:
        return False


def _parsed(body: bytes) -> Any:
    """The body as JSON; None for anything else. No database takes the numbers that Python takes besides."""
    try:
        return json.loads(body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no number in JSON")
    return number


def _delivery(request: WebhookRequest, verdict: WebhookDelivery.Verdict, body: Mapping[str, Any]) -> WebhookDelivery:
    """Its row, to be kept without secrets: the payload without its log, which is kept with the job."""
    found = MARKER.search(request.marker)
    payload = {name: value for name, value in body.items() if name not in ("logs", "input")}
    return WebhookDelivery(
        provider=REPLICATE,
        delivery_id=request.headers.get("webhook-id", "")[:200],
        verdict=verdict,
        sender=_address(request.sender),
        marker=found[0] if found else "",
        external_id=body["id"],
        payload=_keepable(payload) if b"\\u" in request.body else payload,
        log=_log_of(body),
    )


def _keepable(payload: Any) -> Any:
    """Without what a database doesn't take: PostgreSQL has no NUL and no half of a character, in JSON either."""
    text = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace").decode()
    return json.loads(text.replace("\\u0000", " "))


def _log_of(body: Mapping[str, Any]) -> str:
    """The log of a training that has ended: Replicate deletes it. One that goes on tells all of it again."""
    log = body.get("logs")
    if (
        not isinstance(log, str)
        or len(log) > LONGEST_LOG
        or PROVIDER_WORDS.get(str(body.get("status"))) not in TERMINAL
    ):
        return ""
    return log.encode("utf-8", "replace").decode().replace("\x00", " ")


def _address(sender: str) -> str | None:
    try:
        return str(ipaddress.ip_address(sender))
    except ValueError:
        return None


def _keep_refusal(request: WebhookRequest, verdict: WebhookDelivery.Verdict) -> None:
    logger.warning("Webhook refused: %s", verdict.label, extra={"sender": request.sender})
    lately = WebhookDelivery.objects.filter(received_at__gte=timezone.now() - timedelta(hours=1))
    if lately.exclude(verdict__in=APPLICABLE)[:REFUSALS_AN_HOUR].count() < REFUSALS_AN_HOUR:
        WebhookDelivery.objects.create(
            provider=REPLICATE,
            delivery_id=request.headers.get("webhook-id", "").replace("\x00", "")[:200],
            verdict=verdict,
            sender=_address(request.sender),
        )


def _keep(batch: list[IncomingDelivery]) -> list[IncomingDelivery]:
    """Store the deliveries that are new, in one statement. Returns their batch; one that comes again is counted."""
    # Before the transaction, which keeps others from writing.
    _mask([incoming.delivery for incoming in batch if incoming.delivery is not None])
    try:
        with unit_of_work():
            return _keep_new(batch)
    except (IntegrityError, DataError):
        # Another process has just stored one of them, or one can't be stored: each in a transaction of its own.
        return [kept for incoming in batch for kept in _keep_alone(incoming)]


def _keep_alone(incoming: IncomingDelivery) -> list[IncomingDelivery]:
    try:
        with unit_of_work():
            return _keep_new([incoming])
    except (IntegrityError, DataError) as error:
        incoming.error = error
        return []


def _keep_new(batch: list[IncomingDelivery]) -> list[IncomingDelivery]:
    ids = [incoming.delivery.delivery_id for incoming in batch if incoming.delivery and incoming.delivery.delivery_id]
    taken = WebhookDelivery.objects.filter(IS_APPLICABLE & HAS_ID, provider=REPLICATE)
    known = set(taken.filter(delivery_id__in=ids).values_list("delivery_id", flat=True)) if ids else set()
    new: list[IncomingDelivery] = []
    again: list[str] = []
    for incoming in batch:
        assert incoming.delivery is not None
        name = incoming.delivery.delivery_id
        if name and name in known:
            again.append(name)
            logger.debug("Webhook came again", extra={"external_id": incoming.delivery.external_id})
            continue
        known.add(name)
        incoming.delivery.pk = None
        new.append(incoming)
    WebhookDelivery.objects.bulk_create([incoming.delivery for incoming in new if incoming.delivery is not None])
    for name in again:
        taken.filter(delivery_id=name).update(repeats=F("repeats") + 1)
    return new


def _mask(deliveries: Sequence[WebhookDelivery]) -> None:
    """Take secrets out of the payloads; those first that a trainer repeats in its last words, of whatever form."""
    telling = [one for one in deliveries if one.log or (one.payload or {}).get("error")]
    theirs = Q(external_id__in=[delivery.external_id for delivery in telling])
    theirs |= Q(submission_marker__in=[delivery.marker for delivery in telling if delivery.marker])
    known = Job.objects.filter(theirs, provider=REPLICATE).exclude(sealed="")
    jobs = list(known.only("external_id", "submission_marker", "sealed")) if telling else []
    for delivery in deliveries:
        for job in jobs:
            if job.external_id == delivery.external_id or job.submission_marker == delivery.marker:
                delivery.payload = json.loads(without_secrets(job, json.dumps(delivery.payload)))
                delivery.log = without_secrets(job, delivery.log)
        delivery.payload = mask_secrets(delivery.payload)


class _Burst:
    """So many come that only keeping them can keep pace."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self.asked_at = float("-inf")
        #: Whether some were kept since a task was asked for.
        self.owes = False
        self._lately: deque[float] = deque(maxlen=AT_ONCE + 1)

    def grows(self, count: int) -> bool:
        """Whether it is on, now that so many have come."""
        now = monotonic()
        self._lately.extend([now] * count)
        if len(self._lately) > AT_ONCE and now - self._lately[0] < 1:
            self.until = now + RUSH_SECONDS
        return now < self.until


_burst = _Burst()


def is_burst() -> bool:
    """Whether so many come that it pays to wait a moment for the next ones, and to take them in together."""
    return monotonic() < _burst.until


def _request_application() -> None:
    """Have a task apply what was kept; one wish a second is enough, and the upkeep finds what every task missed."""
    now = monotonic()
    _burst.owes = now - _burst.asked_at < ASK_PAUSE
    if not _burst.owes:
        _burst.asked_at = now
        with unit_of_work():  # in line with the other writers: past them it may come to nothing for long
            async_task("jobs.tasks.apply_webhooks")


def after_burst() -> None:
    """Nobody has come for a while: have those applied that came after the last task. Raises nothing."""
    if _burst.owes:
        _burst.asked_at = float("-inf")
        try:
            _request_application()
        except Exception:
            logger.exception("Webhooks wait for the upkeep to apply them")


def trim() -> int:
    """Delete what is older than 30 days, a thousand at a time. Returns how many went."""
    old = WebhookDelivery.objects.filter(received_at__lt=timezone.now() - KEEP).values_list("pk", flat=True)[:1000]
    return WebhookDelivery.objects.filter(pk__in=list(old)).delete()[0]
