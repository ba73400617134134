"""The queue: one entry a job, and the limits that it goes by."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Cast, Coalesce, Concat
from django.utils import timezone

from cloudtrain_site.states import Change, Source, Stateful
from jobs.models import Job, Organization, record_in_history
from queueing.statuses import ALLOWED, HOLDS_SLOT, LIVE, EntryStatus

MAX_PRIORITY = 50
#: Of an entry's job: a config may have a megabyte, and neither a claim nor a sentence needs it.
LARGE = ("job__config", "job__dataloader_config")


class QueueEntryQuerySet(models.QuerySet["QueueEntry"]):
    """Named groups of entries."""

    def live(self) -> QueueEntryQuerySet:
        """Those that wait or hold a slot."""
        return self.filter(status__in=LIVE)

    def holding_slots(self) -> QueueEntryQuerySet:
        """Those that count against the limits."""
        # Each has a token. Said again because it is what SQLite recognizes the index `entry_holds_slot` by.
        return self.filter(status__in=HOLDS_SLOT, claim_token__isnull=False)

    def in_order(self) -> QueueEntryQuerySet:
        """The order in which entries go: by priority and age (see `policy.turn_of`)."""
        return self.order_by("turn", "id")


class QueueEntry(Stateful):
    """A job's place in the queue."""

    SUBJECT: ClassVar[str] = "queue_entry"
    ALLOWED = ALLOWED

    job = models.ForeignKey(Job, models.CASCADE, related_name="queue_entries")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+")
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
    #: `policy.turn_of` when it came and its priority: whatever changes the priority writes it along.
    turn = models.FloatField()
    #: Entries of one lane meet the same limits, so only a lane's first ones can matter to a pass.
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

    #: Whoever holds the claim may write the outcome; a stale holder's outcome is dropped.
    claim_token = models.CharField(max_length=32, null=True, unique=True)
    lease_until = models.DateTimeField(null=True)
    #: Where the claim was made: what a crash left on one machine, only that machine can see.
    claimed_on = models.CharField(max_length=255, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    #: Since when its dataset is on the way: whoever holds the claim has not called the provider for a training.
    staging_since = models.DateTimeField(null=True)
    #: Since when nobody but a person can say whether the provider has the job.
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
            # Every position and list: who waits, in order. Not only for the live: SQLite does not see that
            # `status IN (...)` means a part of an index.
            models.Index(fields=["status", "turn", "id"], name="entry_by_status"),
            # The pass: how many slots are taken, and by whom.
            models.Index(
                fields=["user", "organization", "provider"],
                name="entry_holds_slot",
                condition=Q(claim_token__isnull=False),
            ),
            # The pass: the lanes that there are, and the first entries of each.
            models.Index(fields=["lane", "turn", "id"], name="entry_lane", condition=Q(status=EntryStatus.PENDING)),
            # GET /api/queue: what an organization has in the queue, in order.
            models.Index(fields=["organization", "status", "turn"], name="entry_of_organization"),
            # GET /api/queue/stats: how long those waited that went lately.
            models.Index(fields=["dispatched_at"], name="entry_dispatched", condition=Q(dispatched_at__isnull=False)),
            # The sweeper of abandoned claims.
            models.Index(fields=["lease_until"], name="entry_lease", condition=Q(status=EntryStatus.DISPATCHING)),
            # Every second, on every machine: the datasets that have to be brought to their provider.
            models.Index(fields=["lease_until"], name="entry_staging", condition=Q(staging_since__isnull=False)),
            # The clean-up of finished entries.
            models.Index(fields=["finished_at"], name="entry_finished", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"queue entry of {self.job_id}"

    def record(self, change: Change) -> None:
        """Put the entry's move into its job's history."""
        record_in_history(self.job, change)


class QueueState(models.Model):
    """The one row that the whole queue shares: its limits, whether it is paused, what was last told of it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    max_running = models.PositiveIntegerField("running at once", default=5)
    max_running_per_user = models.PositiveIntegerField("running at once for a user", default=2)
    max_running_per_organization = models.PositiveIntegerField("running at once for an organization", default=10)
    fair_share = models.BooleanField(
        default=False, help_text="The organization that runs least for its share goes first."
    )
    paused = models.BooleanField(default=False, help_text="Nothing starts. What runs, runs on.")

    #: A pass is already enqueued: many wishes at once cause one more pass, not many.
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
    """How much one provider is given. Without a row: no limit of its own, and not drained."""

    provider = models.CharField(max_length=40, primary_key=True)
    max_running = models.PositiveIntegerField("running at once", null=True, blank=True)
    drained = models.BooleanField(default=False, help_text="Nothing new starts there. What runs, runs on.")

    class Meta:
        ordering = ["provider"]

    def __str__(self) -> str:
        return self.provider


class LimitChange(models.Model):
    """Who changed which limit from what to what, and why."""

    name = models.CharField(max_length=150)
    old = models.CharField(max_length=40)
    new = models.CharField(max_length=40)
    actor = models.CharField(max_length=150)
    actor_user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    source = models.CharField(max_length=20, choices=Source.choices)
    reason = models.TextField(blank=True)
    correlation_id = models.CharField(max_length=128)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = "change of a limit"
        verbose_name_plural = "changes of limits"

    def __str__(self) -> str:
        return f"{self.name}: {self.old} -> {self.new} by {self.actor}"
