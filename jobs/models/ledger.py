"""The ledger of costs: entries that are never edited, and the sums that follow from them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.wording.values import money
from jobs.models.job import Job
from jobs.models.organization import Organization
from jobs.validators import NAME_LIMIT

ZERO = Decimal(0)
#: The reason of the one entry of a job that ended before it came here. No other first entry is a correction.
IMPORTED = "imported"


class LedgerError(RuntimeError):
    """An attempt to edit or delete a ledger entry."""

    def __init__(self) -> None:
        super().__init__("Ledger entries are never edited or deleted; a correction is an entry of its own.")


class EntryKind(models.TextChoices):
    #: What the queue sets aside for a job when it claims it; and its return.
    RESERVE = "reserve"
    RELEASE = "release"
    #: What a running job has cost since its last entry, what its end adds, and later changes.
    ACCRUE = "accrue"
    SETTLE = "settle"
    CORRECT = "correct"


#: Which entries say what a job had cost before it came here.
IS_IMPORTED = Q(kind=EntryKind.CORRECT, sequence=1)
HELD_KINDS = (EntryKind.RESERVE, EntryKind.RELEASE)
SPENT_KINDS = (EntryKind.ACCRUE, EntryKind.SETTLE, EntryKind.CORRECT)


class CostSource(models.TextChoices):
    """What an amount is from."""

    ESTIMATE = "estimate"
    PRICE = "price", "the operator's price"
    PROVIDER = "provider", "the provider's own figure"
    PERSON = "person"
    #: Nobody can tell what it costs.
    UNPRICED = "unpriced"
    #: What was stored before there was a ledger.
    BEFORE = "before", "before the ledger"


class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    """Reads and adds; everything else raises LedgerError."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise LedgerError

    def delete(self) -> NoReturn:
        raise LedgerError

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LedgerError


class OfJob(models.Model):
    """The job, and what it had when its first entry was written: that doesn't change later."""

    organization = models.ForeignKey(Organization, models.PROTECT, null=True, related_name="+", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", db_index=False)
    provider = models.CharField(max_length=40)
    hardware = models.CharField(max_length=40, blank=True)

    class Meta:
        abstract = True


class LedgerEntry(OfJob):
    """One amount in US dollars. Triggers keep it as it is (`cloudtrain_site/audit/triggers.py`)."""

    job = models.ForeignKey(Job, models.PROTECT, related_name="ledger_entries", db_index=False)
    #: 1, 2, 3 of a job: an entry that two write is stored once.
    sequence = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=EntryKind.choices)
    amount = models.DecimalField(max_digits=14, decimal_places=6)
    at = models.DateTimeField()
    #: The day of `at` in the organization's time zone.
    day = models.DateField()
    seconds = models.FloatField(null=True)
    per_second = models.DecimalField(max_digits=16, decimal_places=10, null=True)
    priced_on = models.DateField(null=True)
    source = models.CharField(max_length=10, choices=CostSource.choices)
    #: Of a correction: the person or the provider, and why.
    by = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    objects = LedgerQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "ledger entries"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["job", "sequence"], name="ledger_each_once"),
            models.CheckConstraint(
                condition=~Q(kind=EntryKind.CORRECT) | (~Q(by="") & ~Q(reason="")), name="correction_says_who_and_why"
            ),
        ]
        indexes = [
            # ledger.csv: an organization's entries of a period.
            models.Index(fields=["organization", "day", "id"], name="ledger_by_organization"),
            models.Index(fields=["day", "id"], name="ledger_by_day"),
            # Few among many: the admin's list of them would read all entries.
            models.Index(fields=["-id"], name="ledger_corrections", condition=Q(kind=EntryKind.CORRECT)),
            # Budgets read from this index alone what they leave out.
            models.Index(
                fields=["day", "organization", "user", "amount"],
                name="ledger_imported",
                condition=IS_IMPORTED,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {money(self.amount)} for {self.job}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the entry. Raises LedgerError for a stored one."""
        if not self._state.adding:
            raise LedgerError
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LedgerError

    @property
    def period(self) -> str:
        """The month, as 2026-11."""
        return f"{self.day:%Y-%m}"


class JobAccount(OfJob):
    """The sums of one job's entries. Its row is locked while entries of the job are written."""

    job = models.OneToOneField(Job, models.PROTECT, related_name="account")
    spent = models.DecimalField(max_digits=14, decimal_places=6, default=ZERO)
    held = models.DecimalField(max_digits=14, decimal_places=6, default=ZERO)
    entries = models.PositiveIntegerField(default=0)
    #: Until when its cost is in `spent`.
    counted_until = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    #: It costs something and nobody can tell what.
    is_unpriced = models.BooleanField(default=False)

    class Meta:
        default_permissions = ("view",)
        indexes = [
            # The queue's pass: what is held, by organization and user.
            models.Index(fields=["organization", "user", "held"], name="account_holding", condition=Q(held__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}: {self.spent} spent, {self.held} held"

    @property
    def committed(self) -> Decimal:
        return self.spent + self.held


class DayCost(OfJob):
    """What one job has spent on one day of its organization: reports add these up."""

    job = models.ForeignKey(Job, models.PROTECT, related_name="+", db_index=False)
    day = models.DateField()
    config_name = models.CharField(max_length=NAME_LIMIT)
    spent = models.DecimalField(max_digits=14, decimal_places=6)
    is_unpriced = models.BooleanField(default=False)
    #: Not the first of its job's days that was stored: a job with several has at least one of these.
    is_further = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["job", "day"], name="one_cost_a_job_and_day")]
        indexes = [
            # Budgets and reports, from the index alone.
            models.Index(
                fields=["organization", "day", "user", "provider", "hardware", "config_name", "spent", "is_unpriced"],
                name="day_cost_by_organization",
            ),
            models.Index(
                fields=[
                    "day",
                    "organization",
                    "user",
                    "provider",
                    "hardware",
                    "spent",
                    "is_unpriced",
                    "is_further",
                    "job",
                ],
                name="day_cost_by_day_and_job",
            ),
            # The dearest jobs: the few that cost something on several days.
            models.Index(fields=["day", "job"], name="day_cost_further", condition=Q(is_further=True)),
            # The few whose cost is not known.
            models.Index(
                fields=["day", "organization", "job"], name="day_cost_unpriced", condition=Q(is_unpriced=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} on {self.day}: {self.spent}"


class DatedPrice(models.Model):
    """A price from a moment on. Of several with one moment the last one counts; null: from then on there is none."""

    provider = models.CharField(max_length=40)
    hardware = models.CharField(max_length=40, blank=True)
    per_second = models.DecimalField(max_digits=16, decimal_places=10, null=True)
    valid_from = models.DateTimeField()
    priced_on = models.DateField(null=True)
    noted_at = models.DateTimeField(default=timezone.now)
    #: Of a price that a correction put in an earlier one's place.
    by = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["provider", "hardware", "valid_from", "id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["provider", "hardware", "valid_from"], name="price_by_date")]

    def __str__(self) -> str:
        return f"{self.provider} {self.hardware}: {self.per_second} from {self.valid_from:%Y-%m-%d %H:%M}"
