"""Which deliveries a sender takes, and what it writes when they are done.

A claim moves `next_attempt_at` on by a lease: whatever its holder died of, the delivery is due again then. A delivery
that was sent by a sender that died before it wrote so is sent again, under the same message id.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import F, Max, QuerySet
from django.utils import timezone

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.notices.channels import TEST, switch_off
from cloudtrain_site.notices.models import ChannelKind, Delivery
from cloudtrain_site.notices.outbox import due_deliveries
from cloudtrain_site.notices.outcomes import REASON_LIMIT, Outcome
from cloudtrain_site.notices.recipients import new_message_id

logger = logging.getLogger("simpletuner.cloud.notices")

#: Longer than any attempt, with the tasks' time limit of a minute.
LEASE = timedelta(seconds=90)
#: How long is tried, and the pause after each failure; the last one repeats.
GIVE_UP_AFTER = timedelta(days=1)
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (15, 60, 240, 900, 3600, 10800))
#: When a delivery fails, the receiver's other deliveries wait with it, but at most this long.
OTHERS_PAUSE = timedelta(minutes=1)
#: Further notices to an address wait until so long after its last mail, and then come in one.
DIGEST_WINDOW = timedelta(minutes=1)
MAX_IN_ONE_MAIL = 100
CANDIDATES = 200
#: How many attempts may be under way at once, of all kinds to one receiver, and to the receivers of one owner.
SLOTS, SLOTS_A_RECEIVER, SLOTS_AN_OWNER = 48, 4, 12


@dataclass(frozen=True, slots=True)
class Claimed:
    """Deliveries that are sent together: several of them are one mail."""

    deliveries: Sequence[Delivery]
    token: str = field(repr=False)

    @property
    def first(self) -> Delivery:
        return self.deliveries[0]


def owner_of(delivery: Delivery) -> tuple[tuple[str, int | None], ...]:
    """Return the owner of the delivery's receiver, as the filter that finds all deliveries of that owner."""
    if delivery.user_id is not None:
        return (("user_id", delivery.user_id),)
    return (("user_id", None), ("organization_id", delivery.organization_id))


def failing_receivers() -> QuerySet[Delivery, str]:
    """Return the receivers to which a delivery failed that will be tried again."""
    return Delivery.objects.filter(done_at=None).exclude(reason="").values_list("receiver", flat=True)


def claim(under_way: Iterable[Claimed], slots: int = SLOTS, *, only_healthy: bool = False) -> list[Claimed]:
    """Claim due deliveries for the free slots. No receiver, and no owner of receivers, takes more than its share.

    `only_healthy`: none to a receiver that failed lately.
    """
    running = list(under_way)
    receivers = Counter(item.first.receiver for item in running)
    owners = Counter(owner_of(item.first) for item in running)
    full = [name for name, count in receivers.items() if count >= SLOTS_A_RECEIVER]
    candidates = due_deliveries().exclude(receiver__in=full).exclude(kind=ChannelKind.MAIL)
    # Deliveries of owners whose slots are all taken are left out: they would take the candidates' places from others.
    for owner in (owner for owner, count in owners.items() if count >= SLOTS_AN_OWNER):
        candidates = candidates.exclude(**dict(owner))
    if only_healthy:
        candidates = candidates.exclude(receiver__in=failing_receivers())
    chosen: list[int] = []
    for delivery in candidates[:CANDIDATES]:
        owner = owner_of(delivery)
        if len(running) + len(chosen) >= slots:
            break
        if receivers[delivery.receiver] < SLOTS_A_RECEIVER and owners[owner] < SLOTS_AN_OWNER:
            receivers[delivery.receiver] += 1
            owners[owner] += 1
            chosen.append(delivery.pk)
    return [Claimed([delivery], delivery.lease_token) for delivery in _take(chosen)]


def _take(keys: Sequence[int], **fields: str) -> list[Delivery]:
    """Claim those of the deliveries that are still due. Two senders at once: each delivery is one's."""
    if not keys:
        return []
    token, now = secrets.token_hex(16), timezone.now()
    due = Delivery.objects.filter(pk__in=keys, done_at=None, next_attempt_at__lte=now)
    with unit_of_work():
        due.update(lease_token=token, next_attempt_at=now + LEASE, tries=F("tries") + 1, **fields)
    held = Delivery.objects.filter(pk__in=keys, lease_token=token)
    return list(held.select_related("notice", "channel", "user").order_by("id"))


def claim_mails(limit: int, *, only_healthy: bool = False) -> list[Claimed]:
    """Claim the deliveries of at most `limit` mails.

    What is due for one address becomes one mail. An address that had a mail within the window waits until it is over.
    """
    due = due_deliveries().filter(kind=ChannelKind.MAIL)
    if only_healthy:
        due = due.exclude(receiver__in=failing_receivers())
    begun = list(due.exclude(message_id="").values_list("message_id", flat=True).distinct()[:limit])
    claimed = [_claim_begun(message_id) for message_id in begun]
    fresh = due.filter(message_id="").select_related("notice")
    by_recipient: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in fresh[: CANDIDATES * 5]:
        by_recipient[delivery.recipient].append(delivery)
    _wait_for_window(by_recipient)
    for deliveries in list(by_recipient.values())[: max(0, limit - len(begun))]:
        keys = [delivery.pk for delivery in deliveries[:MAX_IN_ONE_MAIL]]
        claimed.append(_take(keys, message_id=new_message_id()))
    return [Claimed(deliveries, deliveries[0].lease_token) for deliveries in claimed if deliveries]


def _claim_begun(message_id: str) -> list[Delivery]:
    """Claim a mail that was tried before: it has exactly the notices that it had then."""
    waiting = Delivery.objects.filter(message_id=message_id, done_at=None)
    return _take(list(waiting.values_list("pk", flat=True)))


def _wait_for_window(by_recipient: dict[str, list[Delivery]]) -> None:
    """Remove the recipients whose window is open, and have their deliveries wait for its end."""
    begin = timezone.now() - DIGEST_WINDOW
    sent = Delivery.objects.filter(recipient__in=list(by_recipient), is_sent=True, done_at__gt=begin)
    for recipient, last in sent.values_list("recipient").annotate(last=Max("done_at")).order_by():
        waiting = [item for item in by_recipient[recipient] if item.notice.kind != TEST]
        Delivery.objects.filter(pk__in=[item.pk for item in waiting], done_at=None, message_id="").update(
            next_attempt_at=last + DIGEST_WINDOW
        )
        at_once = [item for item in by_recipient[recipient] if item.notice.kind == TEST]
        if at_once:
            by_recipient[recipient] = at_once
        else:
            del by_recipient[recipient]


def record(results: Sequence[tuple[Claimed, Outcome]]) -> int:
    """Write the outcomes, in one transaction. Returns how many deliveries were sent."""
    sent = 0
    with unit_of_work():
        for claimed, outcome in results:
            if outcome.is_sent:
                sent += _finish(claimed, is_sent=True)
            elif outcome.is_untried:
                _held(claimed).update(next_attempt_at=timezone.now(), tries=F("tries") - 1, lease_token="")
            elif outcome.is_final:
                _finish(claimed, is_sent=False, reason=outcome.reason)
            else:
                _try_later(claimed, outcome)
            if outcome.switches_off:
                _switch_off(claimed.first, outcome.reason)
    return sent


def _held(claimed: Claimed) -> QuerySet[Delivery]:
    """Return the rows that are still this claim's: another sender took one whose lease ran out."""
    return Delivery.objects.filter(
        pk__in=[item.pk for item in claimed.deliveries], lease_token=claimed.token, done_at=None
    )


def _finish(claimed: Claimed, *, is_sent: bool, reason: str = "") -> int:
    count = _held(claimed).update(done_at=timezone.now(), is_sent=is_sent, reason=reason, lease_token="")
    first = claimed.first
    extra = {"kind": first.notice.kind, "channel": first.kind, "deliveries": count, "tries": first.tries}
    with correlation(first.notice.correlation_id):
        if is_sent:
            logger.info("Notice sent", extra=extra)
        else:
            logger.warning("Notice given up", extra={**extra, "reason": reason})
    return count


def _try_later(claimed: Claimed, outcome: Outcome) -> None:
    now, first = timezone.now(), claimed.first
    pause = PAUSES[min(max(first.tries, 1), len(PAUSES)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
    if now + pause > first.created_at + GIVE_UP_AFTER:
        reason = f"Given up after {first.tries} {'try' if first.tries == 1 else 'tries'}. {outcome.reason}"
        _finish(claimed, is_sent=False, reason=reason[:REASON_LIMIT])
    else:
        _held(claimed).update(next_attempt_at=now + pause, reason=outcome.reason, lease_token="")
    if outcome.pauses_receiver:
        # The others wait less long than this one, which may be the only one that the receiver does not take.
        until = now + min(pause, OTHERS_PAUSE)
        others = Delivery.objects.filter(receiver=first.receiver, done_at=None, lease_token="")
        others.filter(next_attempt_at__lt=until).update(next_attempt_at=until)


def _switch_off(delivery: Delivery, reason: str) -> None:
    """Switch the channel off, and end its other deliveries."""
    if delivery.channel is not None:
        switch_off(delivery.channel, reason)
