"""What providers tell us by themselves: judged, kept, applied once; doubled, late and lost ones do no harm."""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import Any

from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from cloudtrain_site.events import unit_of_work
from cloudtrain_site.redaction import mask_secrets
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle, webhook_secrets
from jobs.applying import Application
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.providers.base import ProviderError, Snapshot
from jobs.providers.replicate_predictions import MARKER, read_snapshot
from jobs.signatures import Check, check
from jobs.statuses import JobStatus
from jobs.tracing import tracing

logger = logging.getLogger("simpletuner.cloud.webhooks")

REPLICATE = "replicate"
KEEP = timedelta(days=30)
#: Deliveries a transaction at most: other writers wait that long.
TOGETHER = 25
#: So many refused deliveries an hour are put on record; anybody may send us more of them.
REFUSALS_AN_HOUR = 500
Verdict = WebhookDelivery.Verdict
APPLICABLE = (Verdict.ACCEPTED, Verdict.UNSIGNED)
REFUSED_CODES = {Verdict.FOREIGN: 403, Verdict.FORGED: 401, Verdict.STALE: 401, Verdict.MALFORMED: 400}
_VERDICTS = {Check.VALID: Verdict.ACCEPTED, Check.FORGED: Verdict.FORGED, Check.STALE: Verdict.STALE}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at our door, as it came; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes
    sender: str
    marker: str = ""


def receive(arrival: Arrival) -> int:
    """Judge a delivery, keep it, and apply it if it is good. Returns the HTTP status to answer with.

    Raises ProviderError when the secret can't be had: then the sender has to try again.
    """
    config = ProviderConfig.objects.filter(pk=REPLICATE).first() or ProviderConfig(name=REPLICATE)
    verdict = _judge(arrival, config)
    body = _parsed(arrival.body) if verdict in APPLICABLE else None
    snapshot = _snapshot_of(body)
    if verdict in APPLICABLE and snapshot is None:
        verdict = Verdict.MALFORMED
    if verdict not in APPLICABLE or snapshot is None:
        _keep_refusal(arrival, verdict)
        return REFUSED_CODES[verdict]
    if config.webhooks_missed_at is not None:
        ProviderConfig.objects.filter(pk=REPLICATE).update(webhooks_missed_at=None)
        logger.info("Webhooks arrive again")
    _take(_delivery(arrival, verdict, snapshot, body or {}), snapshot)
    return 200


def _judge(arrival: Arrival, config: ProviderConfig) -> WebhookDelivery.Verdict:
    if not may_deliver(arrival.sender, config.webhook_networks):
        return Verdict.FOREIGN
    signed = any(name.startswith("webhook-") for name in arrival.headers)
    if not signed:
        return Verdict.FORGED if config.signature_required else Verdict.UNSIGNED
    secret = webhook_secrets.secret()
    found = check(arrival.headers, arrival.body, secret, time())
    if found == Check.FORGED and (fresh := webhook_secrets.fresh_secret(secret)):
        found = check(arrival.headers, arrival.body, fresh, time())
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
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _snapshot_of(body: Any) -> Snapshot | None:
    try:
        return read_snapshot(body)
    except ProviderError:
        return None


def _delivery(
    arrival: Arrival, verdict: WebhookDelivery.Verdict, snapshot: Snapshot, body: Mapping[str, Any]
) -> WebhookDelivery:
    """Its row: the payload without its log, which is kept with the job, and without secrets."""
    found = MARKER.search(arrival.marker)
    payload = {name: value for name, value in body.items() if name not in ("logs", "input")}
    return WebhookDelivery(
        provider=REPLICATE,
        delivery_id=arrival.headers.get("webhook-id", "")[:200],
        verdict=verdict,
        sender=_address(arrival.sender),
        marker=found[0] if found else "",
        external_id=snapshot.external_id,
        payload=_keepable(mask_secrets(payload)),
    )


def _keepable(payload: Any) -> Any:
    """PostgreSQL takes no NUL in JSON either."""
    return json.loads(json.dumps(payload).replace("\\u0000", " "))


def _address(sender: str) -> str | None:
    try:
        return str(ipaddress.ip_address(sender))
    except ValueError:
        return None


def _keep_refusal(arrival: Arrival, verdict: WebhookDelivery.Verdict) -> None:
    logger.warning("Webhook refused: %s", verdict.label, extra={"sender": arrival.sender})
    lately = WebhookDelivery.objects.filter(received_at__gte=timezone.now() - timedelta(hours=1))
    if lately.exclude(verdict__in=APPLICABLE)[:REFUSALS_AN_HOUR].count() < REFUSALS_AN_HOUR:
        WebhookDelivery.objects.create(
            provider=REPLICATE,
            delivery_id=arrival.headers.get("webhook-id", "").replace("\x00", "")[:200],
            verdict=verdict,
            sender=_address(arrival.sender),
        )


@dataclass
class _Ticket:
    """A delivery that waits to be kept and applied; `error` is what kept it from being kept."""

    delivery: WebhookDelivery
    snapshot: Snapshot
    done: bool = False
    error: Exception | None = None


_waiting: deque[_Ticket] = deque()
_turn = threading.Lock()


def _take(delivery: WebhookDelivery, snapshot: Snapshot) -> None:
    """Keep and apply it. Of one delivery that comes twice, one does.

    Whoever has the turn takes along those that wait: a commit for many. Without turns the threads of this process
    would fight for SQLite's one writer, which is unfair, and the last of 40 would give up after ten seconds.
    """
    ticket = _Ticket(delivery, snapshot)
    _waiting.append(ticket)
    while not ticket.done:
        with _turn:
            if not ticket.done:
                _take_together([_waiting.popleft() for _ in range(min(len(_waiting), TOGETHER))])
    if ticket.error is not None:
        raise ticket.error


def _take_together(tickets: list[_Ticket]) -> None:
    """All in one transaction; when one spoils it, each in one of its own. Marks every one of them as done."""
    # By job, as the poll does it: two who change the same jobs in another order would wait for each other for ever.
    ids = [ticket.delivery.external_id for ticket in tickets]
    known = dict(Job.objects.filter(provider=REPLICATE, external_id__in=ids).values_list("external_id", "pk"))
    tickets.sort(key=lambda ticket: known.get(ticket.delivery.external_id, ""))
    try:
        with unit_of_work():
            for ticket in tickets:
                _take_one(ticket)
    except Exception as error:
        for ticket in tickets if len(tickets) > 1 else ():
            _take_together([ticket])
        if len(tickets) == 1:
            tickets[0].error = error
    for ticket in tickets:
        ticket.done = True


def _take_one(ticket: _Ticket) -> None:
    delivery = ticket.delivery
    delivery.pk = None
    try:
        with unit_of_work():
            delivery.save(force_insert=True)
    except IntegrityError:
        same = WebhookDelivery.objects.filter(
            provider=REPLICATE, delivery_id=delivery.delivery_id, verdict__in=APPLICABLE
        )
        same.update(repeats=F("repeats") + 1)
        logger.debug("Webhook came again", extra={"external_id": delivery.external_id})
        return
    try:
        with unit_of_work():
            _apply(delivery, ticket.snapshot)
    except Exception:
        # It is kept, and applied by the next round of `apply_leftovers`: the sender has done his part.
        logger.exception("Webhook could not be applied", extra={"external_id": delivery.external_id})


def _apply(delivery: WebhookDelivery, snapshot: Snapshot) -> None:
    """Apply what it says to its job, and write down what came of it."""
    job = Job.objects.filter(provider=REPLICATE, external_id=snapshot.external_id).first()
    if job is None:
        job, outcome = _adopt(delivery, snapshot)
    else:
        outcome = _bring_up_to_date(job, snapshot)
    delivery.job, delivery.outcome = job, outcome
    WebhookDelivery.objects.filter(pk=delivery.pk).update(job=job, outcome=outcome)


def _bring_up_to_date(job: Job, snapshot: Snapshot) -> str:
    before = job.status
    application = Application({job.pk: job}, ProviderConfig.objects.filter(pk=REPLICATE).first(), Source.WEBHOOK)
    application.take({job.pk: snapshot})
    if application.failed:
        raise ValueError("the snapshot could not be applied")
    return f"{before} -> {job.status}" if application.moved else f"nothing new: the job is {job.status}"


def _adopt(delivery: WebhookDelivery, snapshot: Snapshot) -> tuple[Job | None, str]:
    """A delivery that comes before the answer to our submission, or instead of it, tells whose training it is."""
    job = Job.objects.filter(provider=REPLICATE, submission_marker=delivery.marker, external_id=None).first()
    if not delivery.marker or job is None or job.status not in (JobStatus.PENDING, JobStatus.UPLOADING):
        return None, "no job of ours"
    with tracing(job):
        if not lifecycle.mark_submitted(job, snapshot, actor=Actor(name=REPLICATE), source=Source.WEBHOOK):
            return job, f"too late: the job is {job.status}"
    return job, f"adopted: {job.status}"


def replay(delivery: WebhookDelivery) -> bool:
    """Apply a kept delivery once more; what is behind its job changes nothing. False: there is nothing to apply."""
    snapshot = _snapshot_of(delivery.payload)
    if snapshot is None or delivery.verdict not in APPLICABLE:
        return False
    with unit_of_work():
        _apply(delivery, snapshot)
    return True


def apply_leftovers() -> int:
    """Apply what was received and not applied. Returns how many."""
    return sum(
        replay(delivery) for delivery in WebhookDelivery.objects.filter(verdict__in=APPLICABLE, outcome="")[:200]
    )


def trim() -> int:
    """Delete what is older than 30 days, a thousand at a time. Returns how many went."""
    old = WebhookDelivery.objects.filter(received_at__lt=timezone.now() - KEEP).values_list("pk", flat=True)[:1000]
    return WebhookDelivery.objects.filter(pk__in=list(old)).delete()[0]
