"""From a due notice to its deliveries: who gets it, and over which channels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone
from ulid import ULID

from cloudtrain_site.accounts.preferences import muting_users
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.database.fast_sql import update_if
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import Event, person_channel, publish
from cloudtrain_site.extensions import choice_of, notice_kinds, notice_readers
from cloudtrain_site.notices.models import Channel, ChannelKind, Delivery, Notice
from cloudtrain_site.notices.outbox import notices_to_address
from cloudtrain_site.notices.sealing import open_texts
from cloudtrain_site.notices.targets import host_of, shown_address

logger = logging.getLogger("simpletuner.cloud.notices")

MAIL_SERVER = "mail server"
#: A notice that could not be addressed, since what it needs is broken, must not keep the others waiting.
ERROR_PAUSE = timedelta(minutes=5)
#: What a kind's `prepare` may fill in.
PREPARED = ["subject", "text", "link", "data", "users", "actor_id", "sealed_address", "address_owner_id"]
#: Small enough that its transaction is short.
BATCH_SIZE = 50

_CHANNELS = Prepared(
    lambda organization: Channel.objects.filter(organization_id=organization, off_at=None).order_by("pk")
)


def address_due() -> int:
    """Store the deliveries of a batch of due notices. Returns how many notices it addressed."""
    # Nobody else could write on SQLite while texts are rendered: all that is read and written about is found before.
    found = list(filter(None, map(_addressed, notices_to_address()[:BATCH_SIZE])))
    with unit_of_work():
        return sum(_store(notice, deliveries) for notice, deliveries in found)


def new_message_id() -> str:
    return f"msg_{ULID()}"


def _addressed(notice: Notice) -> tuple[Notice, list[Delivery]] | None:
    """Return the notice as it is sent, with its deliveries, unsaved. None: it waits, since what it needs is broken."""
    kind = notice_kinds.get(notice.kind)
    with correlation(notice.correlation_id):
        try:
            is_void = kind is not None and kind.prepare is not None and not kind.prepare(notice)
            return notice, [] if is_void else deliveries_of(notice)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("A notice could not be addressed", extra={"kind": notice.kind, "key": notice.key})
            Notice.objects.filter(pk=notice.pk).update(due_at=timezone.now() + ERROR_PAUSE)
            return None


def _store(notice: Notice, deliveries: Sequence[Delivery]) -> bool:
    """Store what was found. False: another sender has addressed the notice, and nothing is stored."""
    found = {"addressed_at": timezone.now(), **{name: getattr(notice, name) for name in PREPARED}}
    with correlation(notice.correlation_id):
        if not update_if(Notice, {"id": notice.pk, "addressed_at": None}, found):
            return False
        store_deliveries(notice, deliveries)
    return True


def store_deliveries(notice: Notice, deliveries: Sequence[Delivery]) -> None:
    """Store the deliveries of a notice in the open unit of work. Those to open pages are events, sent with it."""
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    for delivery in deliveries:
        if delivery.kind == ChannelKind.BROWSER:
            data = {"user_id": delivery.user_id, "key": notice.key, "subject": notice.subject, "link": notice.link}
            publish(Event("notice", person_channel(delivery.user_id), data))


def deliveries_of(notice: Notice) -> list[Delivery]:
    """Return the deliveries of `notice`, unsaved; each recipient is in it once."""
    users = _readers(notice)
    found = [
        *_personal(notice, users),
        *(mail_delivery(notice, address) for address in notice.emails),
        *_of_organization(notice),
        *_call_back(notice),
    ]
    return list({delivery.recipient: delivery for delivery in found}.values())


def _readers(notice: Notice) -> QuerySet[User]:
    users = User.objects.filter(pk__in=notice.users, is_active=True).exclude(pk=notice.actor_id or 0)
    for narrowed in notice_readers.values():
        users = narrowed(notice, users)
    return users.order_by("pk")


def _personal(notice: Notice, users: QuerySet[User]) -> Iterator[Delivery]:
    if not notice.users:
        return
    choice = choice_of(notice.kind)
    for user in users.exclude(email="").exclude(pk__in=muting_users(choice)):
        yield mail_delivery(notice, user.email, user=user)
    channels = Channel.objects.filter(user__in=users, off_at=None).exclude(kind=ChannelKind.JOB_WEBHOOK)
    yield from _over(notice, list(channels.order_by("pk")), choice)


def _of_organization(notice: Notice) -> Iterator[Delivery]:
    if notice.organization_id is not None:
        yield from _over(notice, _CHANNELS(notice.organization_id), choice_of(notice.kind))


def _over(notice: Notice, channels: Sequence[Channel], choice: str) -> Iterator[Delivery]:
    for channel in channels:
        if choice not in channel.muted:
            yield from deliveries_over(notice, channel)


def deliveries_over(notice: Notice, channel: Channel) -> Iterator[Delivery]:
    """Yield the deliveries of `notice` over one channel: a list of mail addresses has several."""
    owner: dict[str, Any] = {"channel": channel, "user_id": channel.user_id, "organization_id": channel.organization_id}
    if channel.kind == ChannelKind.MAIL:
        for address in channel.addresses():
            yield mail_delivery(notice, address, **owner)
        return
    now = timezone.now()
    at_once = {"done_at": now, "is_sent": True, "tries": 1} if channel.kind == ChannelKind.BROWSER else {}
    yield Delivery(
        notice=notice,
        kind=channel.kind,
        recipient=f"channel:{channel.pk}",
        receiver=f"channel {channel.pk}",
        shown=channel.shown,
        message_id=new_message_id(),
        **owner,
        **at_once,
    )


def mail_delivery(notice: Notice, address: str, **owner: Any) -> Delivery:
    """Return the delivery of a notice to a mail address, unsaved."""
    return Delivery(
        notice=notice,
        kind=ChannelKind.MAIL,
        recipient=f"mail:{address.casefold()}",
        receiver=MAIL_SERVER,
        shown=address,
        **owner,
    )


def _call_back(notice: Notice) -> Iterator[Delivery]:
    """Yield the call of the address that the notice itself brought."""
    if notice.sealed_address:
        (address,) = open_texts(notice.sealed_address)
        yield Delivery(
            notice=notice,
            kind=ChannelKind.JOB_WEBHOOK,
            user_id=notice.address_owner_id,
            organization_id=notice.organization_id,
            recipient="call back",
            receiver=f"{notice.address_owner_id} {host_of(address)}",
            shown=shown_address(address),
            message_id=new_message_id(),
        )
