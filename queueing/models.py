"""The queue's models: one live entry a job, the limits, and their changes."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Cast, Coalesce, Concat
from django.utils import timezone

from cloudtrain_site.states import Change, Stateful
from jobs.models import Job, Organization, record_in_history
from queueing.statuses import ALLOWED, LIVE, TAKES_SLOT, EntryStatus

MAX_PRIORITY = 50
#: Of a budget, in US dollars.
LARGEST_BUDGET = Decimal("999999999.99")
#: The job's columns to defer: a config may have a megabyte, and neither claims nor explanations need it.
LARGE = ("job__config", "job__dataloader_config")


class QueueEntryQuerySet(models.QuerySet["QueueEntry"]):
    def live(self) -> QueueEntryQuerySet:
        return self.filter(status__in=LIVE)

    def taking_slots(self) -> QueueEntryQuerySet:
        """Return the entries that count against the limits."""
        # Each has a token anyway; only with this condition does SQLite use the index `entry_holds_slot`.
        return self.filter(status__in=TAKES_SLOT, claim_token__isnull=False)

    def in_order(self) -> QueueEntryQuerySet:
        """Return the entries by priority and age (see `policy.turn_of`): without fair share, the queue's order."""
        return self.order_by("turn", "id")


class QueueEntry(Stateful):
    SUBJECT: ClassVar[str] = "queue_entry"
    ALLOWED = ALLOWED

    job = models.ForeignKey(Job, models.CASCADE, related_name="queue_entries")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    provider = models.CharField(max_length=40)

    status = models.CharField(max_length=20, choices=EntryStatus.choices, default=EntryStatus.PENDING)
    priority = models.PositiveSmallIntegerField(default=0)
    priority_override = models.PositiveSmallIntegerField(null=True, validators=[MaxValueValidator(MAX_PRIORITY)])
    effective_priority = models.GeneratedField(
        expression=Coalesce(F("priority_override"), F("priority")),
        output_field=models.PositiveSmallIntegerField(),
        db_persist=True,
    )
    #: `policy.turn_of` its arrival and priority. Each change of the priority must write it too.
    turn = models.FloatField()
    #: Entries of one lane meet the same limits, so a pass reads only the first ones of each.
    lane = models.GeneratedField(
        expression=Concat(
            Cast("organization_id", models.CharField()),
            Value(":"),
            Cast("user_id", models.CharField()),
            Value(":"),
            "provider",
            output_field=models.CharField(max_length=100),
        ),
        output_field=models.CharField(max_length=100),
        db_persist=True,
    )
    not_before = models.DateTimeField(null=True)
    #: What its job will cost at most, for the budgets; null: nobody can tell.
    needs_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)

    #: Only the holder of the claim may write the outcome; a stale holder's outcome is dropped.
    claim_token = models.CharField(max_length=32, null=True, unique=True)
    lease_until = models.DateTimeField(null=True)
    #: The machine of the claim. After a crash, only that machine can see what the claim left behind.
    claimed_on = models.CharField(max_length=255, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    #: Set while its dataset is transferred: the claim's holder has not called the provider for a training yet.
    staging_since = models.DateTimeField(null=True)
    #: The moment from which only a person can say whether the provider has the job.
    unconfirmed_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)

    enqueued_at = models.DateTimeField(default=timezone.now)
    dispatched_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = QueueEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "queue entries"
        constraints = [
            models.UniqueConstraint(fields=["job"], condition=Q(status__in=LIVE), name="one_live_entry_a_job"),
            models.CheckConstraint(
                condition=~Q(status=EntryStatus.DISPATCHING) | Q(claim_token__isnull=False, lease_until__isnull=False),
                name="entry_claimed_with_lease",
            ),
            models.CheckConstraint(
                condition=~Q(status=EntryStatus.RUNNING) | Q(claim_token__isnull=False), name="entry_slot_claimed"
            ),
        ]
        indexes = [
            # Positions and lists: the waiting entries in order. Not a partial index of live entries: SQLite would not
            # use it for `status IN (...)`.
            models.Index(fields=["status", "turn", "id"], name="entry_by_status"),
            # The pass: the number of slots taken, by user, organization and provider.
            models.Index(
                fields=["user", "organization", "provider"],
                name="entry_holds_slot",
                condition=Q(claim_token__isnull=False),
            ),
            # The pass: the lanes, and the first entries of each.
            models.Index(fields=["lane", "turn", "id"], name="entry_lane", condition=Q(status=EntryStatus.PENDING)),
            # The pass: those that a budget still has room for.
            models.Index(fields=["needs_usd"], name="entry_needs", condition=Q(status=EntryStatus.PENDING)),
            # GET /api/queue: an organization's entries, in order.
            models.Index(fields=["organization", "status", "turn"], name="entry_of_organization"),
            # GET /api/queue/stats: the waits of entries dispatched lately.
            models.Index(fields=["dispatched_at"], name="entry_dispatched", condition=Q(dispatched_at__isnull=False)),
            # The sweeper of abandoned claims.
            models.Index(fields=["lease_until"], name="entry_lease", condition=Q(status=EntryStatus.DISPATCHING)),
            # Every second, on every machine: the datasets to transfer to their provider.
            models.Index(fields=["lease_until"], name="entry_staging", condition=Q(staging_since__isnull=False)),
            # The clean-up of finished entries.
            models.Index(fields=["finished_at"], name="entry_finished", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"Queue entry of {self.job}"

    def record(self, change: Change) -> None:
        record_in_history(self.job, change)


class QueueState(models.Model):
    """The single row of the whole queue: its limits, whether it is paused, and the last published numbers."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    max_running = models.PositiveIntegerField("running at once", default=5)
    max_running_per_user = models.PositiveIntegerField("running at once for a user", default=2)
    max_running_per_organization = models.PositiveIntegerField("running at once for an organization", default=10)
    fair_share = models.BooleanField(
        default=False, help_text="The organization with the fewest running jobs for its share goes first."
    )
    paused = models.BooleanField(default=False, help_text="No jobs start. Running jobs continue.")

    #: The moment when a pass was enqueued: many requests at once cause one more pass, not many.
    pass_requested_at = models.DateTimeField(null=True, editable=False)
    told_depth = models.PositiveIntegerField(default=0, editable=False)
    told_running = models.PositiveIntegerField(default=0, editable=False)
    told_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "limits"
        verbose_name_plural = "limits"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_queue_state")]

    def __str__(self) -> str:
        return "Limits of the queue"


class ProviderLimit(models.Model):
    """The limit of one provider. Without a row it has no limit of its own, and isn't drained."""

    provider = models.CharField(max_length=40, primary_key=True)
    max_running = models.PositiveIntegerField("running at once", null=True, blank=True)
    drained = models.BooleanField(default=False, help_text="No new jobs start there. Running jobs continue.")

    class Meta:
        ordering = ["provider"]

    def __str__(self) -> str:
        return self.provider


class Scope(models.TextChoices):
    SITE = "site"
    ORGANIZATION = "organization"
    #: One person's jobs in one organization.
    USER = "user"


class Period(models.TextChoices):
    MONTH = "month"
    DAY = "day"
    LIFETIME = "lifetime"


class Action(models.TextChoices):
    """What happens when all of it is spent. Nothing new starts in any case, from the moment all is committed."""

    HOLD = "hold", "Let running jobs continue"
    FINISH = "finish", "Let running jobs continue and warn their submitters"
    CANCEL = "cancel", "Cancel running jobs"


def default_thresholds() -> list[int]:
    return [50, 80, 100]


class Budget(models.Model):
    """What may be spent in each period, in US dollars. Of all that concern a job the strictest counts."""

    scope = models.CharField(max_length=12, choices=Scope.choices)
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, blank=True, related_name="budgets")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+")
    amount = models.DecimalField(max_digits=11, decimal_places=2, validators=[MinValueValidator(Decimal(0))])
    period = models.CharField(max_length=8, choices=Period.choices, default=Period.MONTH)
    #: Of the site's alone: an organization's periods begin in its own zone.
    site_zone = models.CharField(max_length=60, blank=True)
    #: Percent of the amount, when they are spent: each is told once a period.
    thresholds = models.JSONField(default=default_thresholds)
    action = models.CharField(max_length=6, choices=Action.choices, default=Action.HOLD)
    #: Counts the changes: who changes it says which one they saw.
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    #: The beginning of the period in which a pass was last asked for.
    seen_period = models.DateField(null=True, editable=False)

    class Meta:
        ordering = ["scope", "organization__name", "user__username", "period"]
        constraints = [
            models.CheckConstraint(
                condition=Q(scope=Scope.SITE, organization__isnull=True, user__isnull=True)
                | Q(scope=Scope.ORGANIZATION, organization__isnull=False, user__isnull=True)
                | Q(scope=Scope.USER, organization__isnull=False, user__isnull=False),
                name="budget_scope_named",
            ),
            models.CheckConstraint(condition=Q(amount__gte=0), name="budget_not_negative"),
            models.UniqueConstraint(fields=["period"], condition=Q(scope=Scope.SITE), name="one_site_budget_a_period"),
            models.UniqueConstraint(
                fields=["organization", "period"],
                condition=Q(scope=Scope.ORGANIZATION),
                name="one_organization_budget_a_period",
            ),
            models.UniqueConstraint(
                fields=["organization", "user", "period"],
                condition=Q(scope=Scope.USER),
                name="one_user_budget_a_period",
            ),
        ]

    def __str__(self) -> str:
        return f"Budget of {self.owner} ({self.period})"

    @property
    def owner(self) -> str:
        """Whose it is: `acme`, `alice in acme`, or `the site`."""
        if self.organization is None:
            return "the site"
        return f"{self.user.get_username()} in {self.organization}" if self.user else str(self.organization)

    @property
    def time_zone(self) -> str:
        """The name of the zone in which its periods begin."""
        return self.organization.time_zone if self.organization else self.site_zone or "UTC"


class BudgetNotice(models.Model):
    """A threshold of a budget that was reached in a period: told once, whatever becomes of the amount later."""

    budget = models.ForeignKey(Budget, models.CASCADE, related_name="notices")
    #: The first day of the period.
    period_start = models.DateField()
    #: In percent; null: the forecast for the month is beyond the amount.
    threshold = models.PositiveSmallIntegerField(null=True)
    spent = models.DecimalField(max_digits=14, decimal_places=6)
    amount = models.DecimalField(max_digits=11, decimal_places=2)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                F("budget"), F("period_start"), Coalesce("threshold", 0), name="each_threshold_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.budget}: {self.threshold or 'forecast'} in {self.period_start}"
