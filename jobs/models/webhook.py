"""Received webhook deliveries."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

#: The verdicts of deliveries that may be applied. SQLite finds a partial index by comparing its condition with the
#: query's, which works with single values but not with a list: with an IN it reads the whole table.
APPLICABLE = ("accepted", "unsigned")
IS_APPLICABLE = Q(verdict=APPLICABLE[0]) | Q(verdict=APPLICABLE[1])
HAS_ID = ~Q(delivery_id="")


class WebhookDelivery(models.Model):
    """One received delivery, its verdict and its outcome. Kept for 30 days."""

    class Verdict(models.TextChoices):
        ACCEPTED = "accepted"
        UNSIGNED = "unsigned", "accepted unsigned"
        FORGED = "forged"
        STALE = "stale", "too old or too new"
        FOREIGN = "foreign", "from a network that may not deliver"
        MALFORMED = "malformed"

    provider = models.CharField(max_length=40)
    delivery_id = models.CharField(max_length=200, blank=True)
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    #: The outcome of an accepted one; empty until it was applied.
    outcome = models.CharField(max_length=200, blank=True)
    #: How often the same delivery arrived again.
    repeats = models.PositiveIntegerField(default=0)
    sender = models.GenericIPAddressField(null=True)
    marker = models.CharField(max_length=40, blank=True)
    external_id = models.CharField(max_length=128, blank=True, db_index=True)
    job = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, related_name="webhook_deliveries")
    #: Without secrets, and without its log.
    payload = models.JSONField(null=True)
    #: The log of an ended training, without secrets, from when it was received to when it is applied.
    log = models.TextField(blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        constraints = [
            # Against a delivery that is repeated while the first one is still being applied.
            models.UniqueConstraint(
                fields=["provider", "delivery_id"],
                name="one_delivery_an_id",
                condition=IS_APPLICABLE & HAS_ID,
            ),
        ]
        indexes = [
            # What a crash left between receiving and applying.
            models.Index(fields=["id"], name="delivery_open", condition=IS_APPLICABLE & Q(outcome="")),
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id or 'a delivery'}: {self.verdict}"
