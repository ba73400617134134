"""The verbs of channels: add, change, rotate the secret, remove, send a test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError as InvalidError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from rest_framework.exceptions import ValidationError
from ulid import ULID

from cloudtrain_site.audit.recording import Organizational, differences, record
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.notices.chat import service_of
from cloudtrain_site.notices.models import ORGANIZATION_KINDS, USER_KINDS, Channel, ChannelKind, Delivery, Notice
from cloudtrain_site.notices.outbox import enqueue_sending
from cloudtrain_site.notices.recipients import deliveries_over, mail_delivery, store_deliveries
from cloudtrain_site.notices.sealing import open_texts, seal_texts
from cloudtrain_site.notices.signatures import new_secret
from cloudtrain_site.notices.targets import RefusedAddressError, check_address, shown_address

MAX_CHANNELS = 10
MAX_LIST_ADDRESSES = 20
#: For this long the secret before signs too.
ROTATION = timedelta(days=1)
#: The kind of notice that a test is.
TEST = "test"
MAX_TESTS_A_MINUTE = 5


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose channels: a user's, or an organization's, which `by` changes."""

    user: User | None = None
    organization: Organizational | None = None
    by: User | None = None

    @property
    def organization_id(self) -> int | None:
        return None if self.organization is None else self.organization.pk

    def channels(self) -> QuerySet[Channel]:
        """Return the owner's channels, without the secret of the jobs' own webhooks."""
        rows = Channel.objects.exclude(kind=ChannelKind.JOB_WEBHOOK).order_by("pk")
        if self.user is not None:
            return rows.filter(user=self.user)
        return rows.filter(organization_id=self.organization_id)

    def deliveries(self) -> QuerySet[Delivery]:
        """Return the owner's deliveries, newest first. The calls of a user's `webhook_url`s are the user's."""
        rows = Delivery.objects.select_related("notice", "channel").order_by("-id")
        if self.user is not None:
            return rows.filter(user=self.user)
        return rows.filter(organization_id=self.organization_id, user=None)

    def audit(self, action: str, channel: Channel, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        """Put a change of a channel on record."""
        by = self.by or self.user
        assert by is not None
        record(action, channel, by=by, organization=self.organization, before=before, after=after)


def recorded(channel: Channel) -> dict[str, Any]:
    """Return what the audit record says of a channel."""
    return {
        "kind": channel.kind,
        "name": channel.name,
        "address": channel.shown,
        "muted": channel.muted,
        "on": channel.is_on,
    }


@dataclass(frozen=True, slots=True)
class Made:
    """A new channel, and the secret that signs its webhooks: nobody can show it again."""

    channel: Channel
    secret: str = field(default="", repr=False)


def add_channel(
    owner: Owner, kind: str, *, name: str = "", addresses: Sequence[str] = (), muted: Collection[str] = ()
) -> Made:
    """Store a channel. Raises ValidationError for an address that is never called, Conflict for one too many."""
    shown = _check(owner, kind, addresses)
    secret = new_secret() if kind == ChannelKind.WEBHOOK else ""
    with transaction.atomic():
        if owner.channels().select_for_update().count() >= MAX_CHANNELS:
            raise Conflict(
                f"There are {MAX_CHANNELS} channels. Remove one that is not needed.", code="too_many_channels"
            )
        if kind == ChannelKind.BROWSER and (there := owner.channels().filter(kind=kind).first()):
            return Made(there)
        channel = Channel.objects.create(
            user=owner.user,
            organization_id=owner.organization_id,
            kind=kind,
            name=name,
            shown=shown,
            sealed_address=seal_texts(addresses),
            sealed_secrets=seal_texts([secret]) if secret else "",
            muted=sorted(set(muted)),
        )
        owner.audit("notice channel added", channel, None, recorded(channel))
    return Made(channel, secret)


def check_kinds(names: Iterable[str]) -> None:
    """Raises ValidationError for the first name that is no kind of notice."""
    known = notice_choices()
    if unknown := next((name for name in names if name not in known), None):
        raise ValidationError(f"There is no kind “{unknown}”. There are: {', '.join(known)}.")


def _check(owner: Owner, kind: str, addresses: Sequence[str]) -> str:
    """Return what pages show of the addresses. Raises ValidationError."""
    if kind not in (USER_KINDS if owner.user is not None else ORGANIZATION_KINDS):
        raise ValidationError({"kind": f"There is no channel of the kind “{kind}” here."})
    if kind == ChannelKind.BROWSER:
        return ""
    if kind == ChannelKind.MAIL:
        return _check_list(addresses)
    if len(addresses) != 1:
        raise ValidationError({"addresses": "Enter one address."})
    try:
        if kind == ChannelKind.CHAT:
            return service_of(addresses[0])
        check_address(addresses[0])
    except RefusedAddressError as error:
        raise ValidationError({"addresses": str(error)}) from None
    return shown_address(addresses[0])


def _check_list(addresses: Sequence[str]) -> str:
    if not 1 <= len(addresses) <= MAX_LIST_ADDRESSES:
        raise ValidationError({"addresses": f"Enter 1 to {MAX_LIST_ADDRESSES} mail addresses."})
    for address in addresses:
        try:
            validate_email(address)
        except InvalidError:
            raise ValidationError({"addresses": f"“{address[:100]}” is not a mail address."}) from None
    return ", ".join(addresses)[:320]


def change_channel(
    owner: Owner,
    channel: Channel,
    *,
    name: str | None = None,
    muted: Collection[str] | None = None,
    on: bool | None = None,
) -> None:
    """Change the values that are not None. A channel that is switched on again forgets why it was off."""
    before = recorded(channel)
    if name is not None:
        channel.name = name
    if muted is not None:
        channel.muted = sorted(set(muted))
    if on is True:
        channel.off_at, channel.off_reason = None, ""
    elif on is False and channel.off_at is None:
        channel.off_at, channel.off_reason = timezone.now(), "Switched off."
    old, new = differences(before, recorded(channel))
    if new:
        with transaction.atomic():
            channel.save(update_fields=["name", "muted", "off_at", "off_reason"])
            owner.audit("notice channel changed", channel, old, new)


def switch_off(channel: Channel, reason: str) -> None:
    """Switch a channel off whose receiver wants nothing more, and end what still waits for it."""
    now = timezone.now()
    if Channel.objects.filter(pk=channel.pk, off_at=None).update(off_at=now, off_reason=reason[:300]):
        waiting = Delivery.objects.filter(channel=channel, done_at=None)
        waiting.update(done_at=now, reason=reason[:300], lease_token="")


def rotate_secret(owner: Owner, channel: Channel) -> str:
    """Return a new signing secret, shown this once. The one before signs too for a day.

    Raises Conflict for a mail list or a chat: nothing is signed there.
    """
    if channel.kind not in (ChannelKind.WEBHOOK, ChannelKind.JOB_WEBHOOK):
        raise Conflict("Only a webhook is signed with a secret.", code="not_signed")
    secret = new_secret()
    with transaction.atomic():
        row = Channel.objects.select_for_update().get(pk=channel.pk)
        before = open_texts(row.sealed_secrets)[:1]
        row.sealed_secrets = seal_texts([secret, *before])
        row.previous_secret_until = timezone.now() + ROTATION
        row.save(update_fields=["sealed_secrets", "previous_secret_until"])
        owner.audit("notice channel's secret replaced", row, None, None)
    return secret


def remove_channel(owner: Owner, channel: Channel) -> None:
    """Remove a channel. What waits for it is shown as failed."""
    with transaction.atomic():
        _end_waiting(owner.channels().filter(pk=channel.pk))
        owner.audit("notice channel removed", channel, recorded(channel), None)
        channel.delete()


def delete_channels(organization_id: int) -> None:
    """Delete the channels of an organization that is deleted itself."""
    rows = Channel.objects.filter(organization_id=organization_id)
    _end_waiting(rows)
    rows.delete()


def _end_waiting(channels: QuerySet[Channel]) -> None:
    waiting = Delivery.objects.filter(channel__in=channels, done_at=None)
    waiting.update(done_at=timezone.now(), reason="The channel was removed.", lease_token="")


def job_webhook_channel(user_id: int) -> Channel:
    """Return the channel whose secret signs the calls of a user's `webhook_url`s; the first call makes it."""
    made, _ = Channel.objects.get_or_create(
        user_id=user_id, kind=ChannelKind.JOB_WEBHOOK, defaults={"sealed_secrets": seal_texts([new_secret()])}
    )
    return made


def signing_secrets_for(delivery: Delivery) -> list[str]:
    """Return the secrets that sign a webhook, the newest first. Raises SecretsLostError."""
    channel = delivery.channel
    if channel is None:
        assert delivery.user_id is not None
        channel = job_webhook_channel(delivery.user_id)
    found = open_texts(channel.sealed_secrets)
    until = channel.previous_secret_until
    return found if until is not None and until > timezone.now() else found[:1]


def send_test(owner: Owner, channel: Channel | None) -> None:
    """Send a test over a channel, or to a user's own mail address (None).

    Raises Conflict for a channel that is off, and after MAX_TESTS_A_MINUTE: each is a call to somebody.
    """
    if channel is not None and channel.off_at is not None:
        raise Conflict("This channel is off. Switch it on first.", code="channel_off")
    now = timezone.now()
    lately = owner.deliveries().filter(notice__kind=TEST, created_at__gt=now - timedelta(minutes=1))
    if lately.count() >= MAX_TESTS_A_MINUTE:
        raise Conflict("There were too many tests in the last minute. Wait a moment.", code="too_many_tests")
    with unit_of_work():
        notice = Notice.objects.create(
            kind=TEST,
            key=f"test {ULID()}",
            subject="A test of cloudtrain's notices",
            text="This is a test message from the settings of notices. You don't need to do anything.",
            link=reverse("notices"),
            organization_id=owner.organization_id,
            addressed_at=now,
            correlation_id=get_correlation_id(),
        )
        if channel is not None:
            store_deliveries(notice, list(deliveries_over(notice, channel)))
        elif owner.user is not None and owner.user.email:
            mail_delivery(notice, owner.user.email, user=owner.user).save()
        else:
            raise Conflict("Your account has no mail address.", code="no_address")
        transaction.on_commit(enqueue_sending, robust=True)
