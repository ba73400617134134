"""What providers tell us by themselves: judged, kept, applied once; doubled, late and lost ones do no harm."""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, time
from typing import Any

from django.db import IntegrityError, connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.events import unit_of_work
from cloudtrain_site.redaction import mask_secrets
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle, webhook_secrets
from jobs.applying import Application
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.providers.base import ProviderError, Snapshot
from jobs.providers.replicate_predictions import MARKER, read_snapshot
from jobs.sealed import without_secrets
from jobs.signatures import Check, check
from jobs.statuses import JobStatus
from jobs.tracing import tracing

logger = logging.getLogger("simpletuner.cloud.webhooks")

REPLICATE = "replicate"
KEEP = timedelta(days=30)
#: Deliveries a transaction at most: other writers wait that long.
TOGETHER = 25
#: So many at the same moment are applied before they are answered; more, and what follows them, are left to a task.
AT_ONCE = 5
RUSH_SECONDS = 2.0
ASK_PAUSE = 1.0
#: A task that applies what was left is killed after a minute.
APPLY_SECONDS = 30.0
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


@dataclass
class _Ticket:
    """An arrival on its way: what is thought of it, and what is made of it. `error` is what kept it from being kept."""

    arrival: Arrival
    verdict: WebhookDelivery.Verdict = Verdict.MALFORMED
    delivery: WebhookDelivery | None = None
    snapshot: Snapshot | None = None
    error: Exception | None = None
    done: bool = False


_waiting: deque[_Ticket] = deque()
_turn = threading.Lock()


def receive(arrival: Arrival) -> int:
    """Judge a delivery, keep it, and apply it if it is good. Returns the HTTP status to answer with.

    Raises ProviderError when the secret can't be had: then the sender has to try again. Where many come at the same
    moment they are kept together and answered, and applied by a task: the answer must not wait for that.

    Whoever has the turn takes along those that wait: a commit for many. Without turns the threads of this process
    would fight for SQLite's one writer, which is unfair, and the last of 40 would give up after ten seconds.
    """
    ticket = _Ticket(arrival)
    _waiting.append(ticket)
    while not ticket.done:
        with _turn:
            if not ticket.done:
                _take_together([_waiting.popleft() for _ in range(min(len(_waiting), TOGETHER))])
    if ticket.error is not None:
        raise ticket.error
    return REFUSED_CODES.get(ticket.verdict, 200)


def _take_together(tickets: list[_Ticket]) -> None:
    """Marks every one of them as done, whatever happens."""
    try:
        config = ProviderConfig.objects.filter(pk=REPLICATE).first() or ProviderConfig(name=REPLICATE)
        for ticket in tickets:
            _judge_one(ticket, config)
        good = [ticket for ticket in tickets if ticket.snapshot is not None]
        if good and config.webhooks_missed_at is not None:
            ProviderConfig.objects.filter(pk=REPLICATE).update(webhooks_missed_at=None)
            logger.info("Webhooks arrive again")
        new = _keep(good)
        if _is_rush(len(tickets) + len(_waiting)):
            _request_application()
        else:
            apply_each([(one.delivery, one.snapshot) for one in new if one.delivery and one.snapshot])
    except Exception as error:
        for ticket in tickets:
            ticket.error = ticket.error or error
    finally:
        for ticket in tickets:
            ticket.done = True


def _judge_one(ticket: _Ticket, config: ProviderConfig) -> None:
    arrival = ticket.arrival
    try:
        ticket.verdict = _judge(arrival, config)
    except ProviderError as error:
        ticket.error = error
        return
    body = _parsed(arrival.body) if ticket.verdict in APPLICABLE else None
    snapshot = _snapshot_of(body)
    if ticket.verdict in APPLICABLE and snapshot is not None:
        ticket.snapshot, ticket.delivery = snapshot, _delivery(arrival, ticket.verdict, snapshot, body or {})
        return
    if ticket.verdict in APPLICABLE:
        ticket.verdict = Verdict.MALFORMED
    _keep_refusal(arrival, ticket.verdict)


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
    """Its row, to be kept without secrets: the payload without its log, which is kept with the job."""
    found = MARKER.search(arrival.marker)
    payload = {name: value for name, value in body.items() if name not in ("logs", "input")}
    return WebhookDelivery(
        provider=REPLICATE,
        delivery_id=arrival.headers.get("webhook-id", "")[:200],
        verdict=verdict,
        sender=_address(arrival.sender),
        marker=found[0] if found else "",
        external_id=snapshot.external_id,
        payload=_keepable(payload),
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


def _keep(tickets: list[_Ticket]) -> list[_Ticket]:
    """Store the deliveries that are new, in one statement. Returns their tickets; one that comes again is counted."""
    try:
        with unit_of_work():
            return _keep_new(tickets)
    except IntegrityError:
        # Another process has just stored one of them: each in a transaction of its own, which sees that.
        kept: list[_Ticket] = []
        for ticket in tickets:
            with unit_of_work():
                kept += _keep_new([ticket])
        return kept


def _keep_new(tickets: list[_Ticket]) -> list[_Ticket]:
    ids = [ticket.delivery.delivery_id for ticket in tickets if ticket.delivery and ticket.delivery.delivery_id]
    taken = WebhookDelivery.objects.filter(provider=REPLICATE, verdict__in=APPLICABLE)
    known = set(taken.filter(delivery_id__in=ids).values_list("delivery_id", flat=True)) if ids else set()
    new: list[_Ticket] = []
    for ticket in tickets:
        assert ticket.delivery is not None
        name = ticket.delivery.delivery_id
        if name and name in known:
            taken.filter(delivery_id=name).update(repeats=F("repeats") + 1)
            logger.debug("Webhook came again", extra={"external_id": ticket.delivery.external_id})
            continue
        known.add(name)
        ticket.delivery.pk = None
        new.append(ticket)
    _mask([ticket.delivery for ticket in new if ticket.delivery is not None])
    WebhookDelivery.objects.bulk_create([ticket.delivery for ticket in new if ticket.delivery is not None])
    return new


def _mask(deliveries: Sequence[WebhookDelivery]) -> None:
    """Take secrets out of the payloads; those first that a trainer repeats in its last words, of whatever form."""
    telling = [delivery for delivery in deliveries if (delivery.payload or {}).get("error")]
    theirs = Q(external_id__in=[delivery.external_id for delivery in telling])
    theirs |= Q(submission_marker__in=[delivery.marker for delivery in telling if delivery.marker])
    jobs = list(Job.objects.filter(theirs, provider=REPLICATE).exclude(sealed="")) if telling else []
    for delivery in deliveries:
        for job in jobs:
            if job.external_id == delivery.external_id or job.submission_marker == delivery.marker:
                delivery.payload = json.loads(without_secrets(job, json.dumps(delivery.payload)))
        delivery.payload = mask_secrets(delivery.payload)


@dataclass
class _Rush:
    """So many come that only keeping them can keep pace."""

    until: float = float("-inf")
    asked_at: float = float("-inf")


_rush = _Rush()


def _is_rush(here: int) -> bool:
    now = monotonic()
    if here > AT_ONCE:
        _rush.until = now + RUSH_SECONDS
    return now < _rush.until


def _request_application() -> None:
    """Have a task apply what was kept; one wish a second is enough, and the upkeep finds what every task missed."""
    now = monotonic()
    if now - _rush.asked_at >= ASK_PAUSE:
        _rush.asked_at = now
        async_task("jobs.tasks.apply_webhooks")


def apply_each(pairs: Sequence[tuple[WebhookDelivery, Snapshot]]) -> None:
    """Apply them in one transaction; when one spoils it, each in one of its own. What can't be applied stays open."""
    # By job, as the poll does it: two who change the same jobs in another order would wait for each other for ever.
    ids = [delivery.external_id for delivery, _ in pairs]
    known = dict(Job.objects.filter(provider=REPLICATE, external_id__in=ids).values_list("external_id", "pk"))
    try:
        with unit_of_work():
            for delivery, snapshot in sorted(pairs, key=lambda pair: known.get(pair[0].external_id, "")):
                _apply(delivery, snapshot)
    except Exception:
        if len(pairs) == 1:
            # It is kept: the sender has done his part.
            logger.exception("Webhook could not be applied", extra={"external_id": pairs[0][0].external_id})
        for pair in pairs if len(pairs) > 1 else ():
            apply_each([pair])


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
    """Apply what was received and not applied, the oldest first, for as long as one task may. Returns how many."""
    until, last, count = monotonic() + APPLY_SECONDS, 0, 0
    while monotonic() < until:
        with unit_of_work():
            # Whoever does the same at this moment has others, or waits and finds these done.
            rows = list(_open_ones(last).select_for_update(skip_locked=connection.vendor == "postgresql")[:TOGETHER])
            apply_each([(row, snapshot) for row in rows if (snapshot := _snapshot_of(row.payload)) is not None])
        count += len(rows)
        if len(rows) < TOGETHER:
            break
        last = rows[-1].pk
    return count


def _open_ones(after: int) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(verdict__in=APPLICABLE, outcome="", pk__gt=after).order_by("id")


def trim() -> int:
    """Delete what is older than 30 days, a thousand at a time. Returns how many went."""
    old = WebhookDelivery.objects.filter(received_at__lt=timezone.now() - KEEP).values_list("pk", flat=True)[:1000]
    return WebhookDelivery.objects.filter(pk__in=list(old)).delete()[0]
