"""Notices, the channels of people and organizations, and the deliveries of each notice."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.notices.sealing import open_texts


class Notice(models.Model):
    """A message, stored in the transaction of the change that it reports."""

    kind = models.CharField(max_length=40)
    #: Names what is reported; each key is stored once.
    key = models.CharField(max_length=200, unique=True)
    subject = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    #: The path of the page that shows it; empty: there is none.
    link = models.CharField(max_length=500, blank=True)
    #: Further fields for webhooks, and for the kind's `prepare`.
    data = models.JSONField(default=dict)
    #: The ids of the users to notify, and the addresses of people who are no users yet.
    users = models.JSONField(default=list)
    emails = models.JSONField(default=list)
    #: Its organization's channels receive the notice too. Plain values: this room knows neither table.
    organization_id = models.BigIntegerField(null=True)
    job_id = models.CharField(max_length=26, blank=True)
    #: An address to call about this notice alone, encrypted; it is signed with the secret of this user.
    sealed_address = models.TextField(blank=True, editable=False)
    address_owner_id = models.BigIntegerField(null=True)
    #: The person who made the change gets no notice of it.
    actor_id = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    #: When its deliveries were stored, or it was found to be needless; null: not yet.
    addressed_at = models.DateTimeField(null=True)
    correlation_id = models.CharField(max_length=128)

    class Meta:
        indexes = [
            # The sender: due notices without deliveries, the oldest first.
            models.Index(fields=["due_at", "id"], name="notice_to_address", condition=Q(addressed_at__isnull=True)),
            # The removal of old ones.
            models.Index(fields=["created_at"], name="notice_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}"


class ChannelKind(models.TextChoices):
    MAIL = "mail", "Mail"
    BROWSER = "browser", "Browser"
    WEBHOOK = "webhook", "Webhook"
    CHAT = "chat", "Chat"
    #: The secret that signs the calls of a user's `webhook_url`s; the addresses are the jobs' own.
    JOB_WEBHOOK = "job_webhook", "Webhook of a job"


#: Which kinds an organization can have, and which a person.
ORGANIZATION_KINDS = (ChannelKind.MAIL, ChannelKind.WEBHOOK, ChannelKind.CHAT)
USER_KINDS = (ChannelKind.BROWSER, ChannelKind.WEBHOOK, ChannelKind.CHAT)


class Channel(models.Model):
    """A way to a person or an organization. A person's mail address needs no row, only its muted kinds have some."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="notice_channels")
    organization_id = models.BigIntegerField(null=True)
    kind = models.CharField(max_length=20, choices=ChannelKind.choices)
    name = models.CharField(max_length=100, blank=True)
    #: What pages show of the address: without its secrets.
    shown = models.CharField(max_length=320, blank=True)
    #: The address and the signing secrets, encrypted.
    sealed_address = models.TextField(blank=True, editable=False)
    sealed_secrets = models.TextField(blank=True, editable=False)
    #: Until then the previous secret signs too.
    previous_secret_until = models.DateTimeField(null=True)
    #: The kinds (their `choice`) that it doesn't receive.
    muted = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)
    #: Set when it is off, with the reason.
    off_at = models.DateTimeField(null=True)
    off_reason = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, organization_id__isnull=True)
                | Q(user__isnull=True, organization_id__isnull=False),
                name="channel_has_one_owner",
            ),
            models.UniqueConstraint(
                fields=["user", "kind"],
                name="one_such_channel_a_user",
                condition=Q(kind__in=["browser", "job_webhook"]),
            ),
        ]
        indexes = [
            # The channels of an organization. Those of a user have the foreign key's index.
            models.Index(
                fields=["organization_id"], name="channel_of_organization", condition=Q(organization_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name or self.shown}".strip()

    def addresses(self) -> list[str]:
        """Return its addresses: one, or the many of a mail list. Raises SecretsLostError."""
        return open_texts(self.sealed_address)

    @property
    def is_on(self) -> bool:
        return self.off_at is None

    @property
    def shown_to_owner(self) -> str:
        """What its owner sees of the address: a mail list is shown with all of its addresses."""
        if self.kind != ChannelKind.MAIL:
            return self.shown
        try:
            return ", ".join(self.addresses())
        except SecretsLostError:
            return "addresses that can't be decrypted, because SECRET_KEY was changed"


class Delivery(models.Model):
    """One notice on its way to one recipient over one channel."""

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="deliveries", db_index=False)
    kind = models.CharField(max_length=20, choices=ChannelKind.choices)
    channel = models.ForeignKey(Channel, models.SET_NULL, null=True, related_name="deliveries")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="notice_deliveries", db_index=False
    )
    organization_id = models.BigIntegerField(null=True)
    #: What identifies the recipient: a notice reaches each once.
    recipient = models.CharField(max_length=340)
    #: What pages show of the address.
    shown = models.CharField(max_length=320, blank=True)
    #: The mail server, or the host of an address: a receiver that fails pauses its own deliveries alone.
    receiver = models.CharField(max_length=300)
    #: The same at each try, so that a receiver recognizes a second one. Deliveries with one are sent as one mail.
    message_id = models.CharField(max_length=60, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    #: Of the sender that holds it, until `next_attempt_at`: a killed one blocks nothing for longer.
    lease_token = models.CharField(max_length=32, blank=True)
    #: When it was sent, or given up; null: it is still tried.
    done_at = models.DateTimeField(null=True)
    is_sent = models.BooleanField(default=False)
    #: Of a delivery that failed: why, as a sentence.
    reason = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["notice", "recipient"], name="one_delivery_a_recipient"),
            models.CheckConstraint(
                condition=Q(is_sent=False) | Q(done_at__isnull=False), name="delivery_sent_when_done"
            ),
        ]
        indexes = [
            # The sender: what is due, the oldest first.
            models.Index(fields=["next_attempt_at", "id"], name="delivery_due", condition=Q(done_at__isnull=True)),
            # The sender: other deliveries of a receiver that failed.
            models.Index(fields=["receiver"], name="delivery_waiting", condition=Q(done_at__isnull=True)),
            # The deliveries that make up one mail, and the last mail to a recipient.
            models.Index(fields=["message_id"], name="delivery_by_message"),
            models.Index(fields=["recipient", "-done_at"], name="delivery_by_recipient"),
            # The page of deliveries: a user's, and an organization's, newest first.
            models.Index(fields=["user", "-id"], name="delivery_of_user"),
            models.Index(fields=["organization_id", "-id"], name="delivery_of_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.notice_id} to {self.shown or self.recipient}"

    @property
    def state(self) -> str:
        """ "waiting" for its first try, "retrying", "sent" or "failed"."""
        if self.done_at is not None:
            return "sent" if self.is_sent else "failed"
        return "retrying" if self.tries else "waiting"
