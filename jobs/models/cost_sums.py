"""What all jobs have spent in each past day and month, so that costs of a year don't read a million rows."""

from __future__ import annotations

from enum import IntEnum

from django.conf import settings
from django.db import models
from django.db.models import DO_NOTHING, Q

from jobs.models.job import Job
from jobs.models.organization import Organization


class SumOf(IntEnum):
    """What a row of CostSum is of."""

    #: Nothing: it says that its day, or its month, is added up.
    DAY = 0
    MONTH = 1
    #: An organization at a provider, on one hardware; a person in an organization.
    PLACE = 2
    PERSON = 3
    #: Of a month: the dearest jobs of each organization, and the jobs that spent something in other months too.
    DEAREST = 4
    CROSSING = 5


class CostSum(models.Model):
    """A sum of rows of DayCost in a day or month; see costs/cost_sums.py. A row that it refers to may be gone."""

    #: A SumOf.
    kind = models.PositiveSmallIntegerField()
    #: A day or a month, as 2026-03-10 or 2026-03.
    span = models.CharField(max_length=10)
    organization = models.ForeignKey(
        Organization, DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    job = models.ForeignKey(Job, DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False)
    provider = models.CharField(max_length=40, blank=True)
    hardware = models.CharField(max_length=40, blank=True)
    #: In millionths of a dollar: exact on both databases.
    amount = models.BigIntegerField(default=0)
    #: How many of the rows have no known cost.
    unpriced = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        indexes = [
            # All that reports read, from the index alone.
            models.Index(
                fields=["kind", "span", "organization", "user", "provider", "hardware", "amount", "unpriced"],
                name="cost_sums_of_span",
            )
        ]
        constraints = [
            # Of two that add up a span at once, one fails and leaves it to the other.
            models.UniqueConstraint(
                fields=["span"], condition=Q(kind__in=(int(SumOf.DAY), int(SumOf.MONTH))), name="one_mark_a_summed_span"
            ),
        ]

    def __str__(self) -> str:
        return f"{SumOf(self.kind).name} {self.span}: {self.amount}"


class ChangedCosts(models.Model):
    """A past day, or month, whose costs have changed since: its sums may be wrong. Triggers write it."""

    #: SumOf.DAY or SumOf.MONTH.
    kind = models.PositiveSmallIntegerField()
    span = models.CharField(max_length=10)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.span
