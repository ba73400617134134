"""A job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.database.beginnings import beginning, beginning_of
from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.states import Actor, Change, Stateful
from jobs import signals
from jobs.channels import organization_channel
from jobs.failures.cause import MAX_LINE_CHARACTERS, line_of
from jobs.identifiers import new_job_id
from jobs.models.dataset import DatasetUpload
from jobs.models.fields import NameKeyField
from jobs.models.history import record_in_history
from jobs.models.lineage import Lineage
from jobs.models.organization import Organization
from jobs.statuses import ACTIVE, ALLOWED, AT_PROVIDER, TERMINAL, FuseAction, JobStatus
from jobs.validators import NAME_LIMIT, plain_name

MAX_NOTE_CHARACTERS = 300
A_CENT = Decimal("0.01")
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
#: What the list's indexes end with.
LISTED = ("deleted_at", "provider", "hardware_profile", "submitted_by")
#: What the indexes of the metrics end with.
MEASURED = ("status", "cost_usd", "cost_doubt", "started_at", "created_at", "submission_marker")


class JobQuerySet(models.QuerySet["Job"]):
    """Named groups of jobs."""

    def kept(self) -> JobQuerySet:
        """Those that nobody has deleted."""
        return self.filter(deleted_at__isnull=True)

    def active(self) -> JobQuerySet:
        """Those that have not ended."""
        return self._unended(ACTIVE)

    def at_provider(self) -> JobQuerySet:
        """Those whose training may be going on."""
        return self._unended(AT_PROVIDER)

    def _unended(self, statuses: Iterable[JobStatus]) -> JobQuerySet:
        # SQLite doesn't see that these statuses are of jobs without an end, which indexes of a few rows are for.
        return self.filter(status__in=statuses, completed_at=None)

    def ended_since(self, moment: datetime) -> JobQuerySet:
        # An open range is a quarter of all rows to SQLite, which then reads all of a provider; one with two ends isn't.
        return self.filter(completed_at__range=(moment, END_OF_TIME))

    def with_beginnings(self) -> JobQuerySet:
        """The same for a list: of an error, the beginning alone is read."""
        beginnings = {f"{name}_beginning": beginning_of(name) for name in ("error_message", "sync_error")}
        return self.defer("error_message", "sync_error").annotate(**beginnings)


class Job(Lineage, Stateful):
    """One training, from its submission to its end."""

    SUBJECT: ClassVar[str] = "job"
    ALLOWED = ALLOWED

    id = models.CharField(primary_key=True, max_length=26, default=new_job_id, editable=False)
    # Without indexes of their own: the lists' begin with them, and PostgreSQL would take these in their place.
    organization = models.ForeignKey(Organization, models.PROTECT, null=True, related_name="jobs", db_index=False)
    submitted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="jobs", db_index=False
    )
    #: Its number in its organization, see runs/numbers.py; null of a job of none.
    number = models.PositiveBigIntegerField(null=True, editable=False)
    correlation_id = models.CharField(max_length=128, db_index=True)

    provider = models.CharField(max_length=40)
    external_id = models.CharField(max_length=128, null=True)
    hardware_profile = models.CharField(max_length=40, blank=True)
    config_name = models.CharField(max_length=NAME_LIMIT, validators=[plain_name])
    #: Never null in a row that this version wrote; SQLite would copy the whole table for a new column that can't be.
    name_key = NameKeyField(max_length=NAME_LIMIT, null=True, editable=False)
    config = models.JSONField(default=dict)
    dataloader_config = models.JSONField(default=list)
    #: The secrets that were in both and in the address below, encrypted, with their places.
    sealed = models.TextField(blank=True, editable=False)
    dataset = models.ForeignKey(DatasetUpload, models.PROTECT, null=True, related_name="jobs")
    tracker_run_name = models.CharField(max_length=NAME_LIMIT, blank=True)
    webhook_url = models.CharField(blank=True, max_length=500, validators=[URLValidator(["http", "https"])])

    status = models.CharField(max_length=20, choices=JobStatus.choices, default=JobStatus.PENDING)
    error_message = models.TextField(blank=True)
    #: The line of it that names the cause; null in a row of an older version, where it is found again.
    error_line = models.CharField(max_length=MAX_LINE_CHARACTERS, null=True, editable=False)
    output_url = models.TextField(blank=True)
    #: What the provider will echo; set once, just before the provider is first called.
    submission_marker = models.CharField(max_length=40, null=True, unique=True)
    submission_started_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.CharField(max_length=150, blank=True)

    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    #: From its start to its end; null until it has ended, and for one that ended without a start.
    duration_ms = models.PositiveBigIntegerField(null=True, editable=False)
    deleted_at = models.DateTimeField(null=True)

    stage = models.CharField(max_length=40, null=True)
    progress = models.FloatField(null=True)
    step = models.PositiveBigIntegerField(null=True)
    total_steps = models.PositiveBigIntegerField(null=True)
    last_log = models.CharField(max_length=80, null=True)
    progress_told_at = models.DateTimeField(null=True)
    last_synced_at = models.DateTimeField(null=True)
    sync_error = models.TextField(blank=True)
    #: Of a queued job: why its provider lets it wait, as a sentence of the provider's.
    provider_waiting_reason = models.TextField(null=True)
    #: Of a log that we keep a copy of: its bytes, when it was last asked for, and when it is due again.
    log_size = models.PositiveBigIntegerField(default=0)
    log_fetched_at = models.DateTimeField(null=True)
    log_due_at = models.DateTimeField(null=True)
    #: Of a log that is a file, see retention/logs.py: since when that is gone.
    log_removed_at = models.DateTimeField(null=True, editable=False)

    #: The upper end, by which rules go; the lower end; and what both are from, as a sentence.
    estimated_cost_usd = models.DecimalField("estimated cost, in dollars", max_digits=12, decimal_places=4, null=True)
    estimated_cost_low_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    estimate_source = models.CharField(max_length=300, null=True)
    #: What a completed run tells of the time of a step, see costs/pace.py; null for one that tells nothing.
    training_kind = models.CharField(max_length=250, null=True, editable=False)
    seconds_per_step = models.FloatField(null=True, editable=False)
    #: Triggers keep this as its kept curves have it, see curves/last_losses.py.
    last_loss = models.FloatField(null=True, editable=False)
    #: What it has cost, or the known part of that when `cost_doubt` says, as a sentence, why it is not known.
    cost_usd = models.DecimalField(max_digits=12, decimal_places=4, default=Decimal(0))
    cost_doubt = models.CharField(max_length=200, null=True, editable=False)
    #: What it may cost at most, see fuses/fuse.py, and what happens then; null: no limit, or as the operator says.
    max_cost_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    fuse_action = models.CharField(max_length=10, choices=FuseAction.choices, null=True)
    fuse_grace_percent = models.PositiveSmallIntegerField(null=True)
    #: Of this limit: since when it was warned of, and since when more is asked for.
    cost_warned_at = models.DateTimeField(null=True, editable=False)
    fuse_asked_at = models.DateTimeField(null=True, editable=False)
    metadata = models.JSONField(default=dict)
    #: A text of its organization's members, see tags/noting.py; null in a row of an older version.
    note = models.CharField(max_length=MAX_NOTE_CHARACTERS, null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            # Discovery and a webhook may meet the same training at the same moment.
            models.UniqueConstraint(fields=["provider", "external_id"], name="one_job_a_training"),
            # The number first: a search for it reads one place of the index, whatever organizations there are. With a
            # condition, for without one SQLite would copy the whole table.
            models.UniqueConstraint(
                fields=["number", "organization"], condition=Q(number__isnull=False), name="one_job_a_number"
            ),
            models.CheckConstraint(condition=Q(status__in=JobStatus.values), name="job_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=ACTIVE, completed_at__isnull=True)
                | Q(status__in=TERMINAL, completed_at__isnull=False),
                name="job_completed_at_when_ended",
            ),
        ]
        indexes = [
            # An organization's jobs in each order of the list, see finding/orders.py, with what lists filter by: the
            # index alone says which match, and how many. A job has kilobytes.
            models.Index(fields=["organization", "id", "status", *LISTED, "name_key"], name="job_list"),
            models.Index(fields=["organization", "name_key", "id", "status", *LISTED], name="job_list_name"),
            models.Index(fields=["organization", "-status", "-id", *LISTED, "name_key"], name="job_list_by_status"),
            models.Index(fields=["organization", "-cost_usd", "-id", "status", *LISTED], name="job_list_cost"),
            models.Index(
                fields=["organization", "-duration_ms", "-id", "status", *LISTED],
                name="job_list_duration",
                condition=Q(duration_ms__isnull=False),
            ),
            models.Index(fields=["organization", "last_loss", "-id", "status", *LISTED], name="job_list_loss"),
            models.Index(
                fields=["organization", "started_at", "-id"],
                name="job_list_going",
                condition=Q(completed_at__isnull=True),
            ),
            # With a column that is null in all of it: SQLite takes an index without a condition for a whole table.
            models.Index(
                fields=["organization", "started_at", "-id"],
                name="job_list_not_begun",
                condition=Q(started_at__isnull=True),
            ),
            # The numbers beside the list: what has not ended, by status.
            models.Index(fields=["organization", "status"], name="job_open", condition=Q(completed_at__isnull=True)),
            # A job's retries. With the many that are none in it SQLite would think little of it, and read all jobs.
            models.Index(fields=["retry_of", "-id"], name="job_by_retry", condition=Q(retry_of__isnull=False)),
            # A tree of runs, and the number of a run in it; what goes on from a job's checkpoint, or was made from it.
            models.Index(fields=["root", "id"], name="job_by_root", condition=Q(root__isnull=False)),
            models.Index(fields=["parent"], name="job_by_parent", condition=Q(parent__isnull=False)),
            models.Index(fields=["checkpoint_of"], name="job_by_source", condition=Q(checkpoint_of__isnull=False)),
            # The poller: jobs that have not ended, by provider.
            models.Index(fields=["provider", "id"], name="job_unended", condition=Q(completed_at__isnull=True)),
            # A search: jobs by the id that they have at their provider, whichever that is.
            models.Index(fields=["external_id"], name="job_by_external", condition=Q(external_id__isnull=False)),
            # Discovered jobs of no organization.
            models.Index(fields=["provider"], name="job_unassigned", condition=Q(organization__isnull=True)),
            # The limit of open jobs: one person's jobs that have not ended.
            models.Index(fields=["submitted_by"], name="job_open_by_submitter", condition=Q(completed_at__isnull=True)),
            # The poller: jobs whose log is due, the longest overdue first.
            models.Index(fields=["log_due_at"], name="job_log_due", condition=Q(log_due_at__isnull=False)),
            # A superuser's list and the admin's, newest first: of one status, with what lists filter by, and of
            # one provider or hardware.
            models.Index(fields=["-status", "-id", *LISTED, "name_key"], name="job_by_status_listed"),
            models.Index(fields=["provider", "-id"], name="job_by_provider"),
            models.Index(fields=["hardware_profile", "-id"], name="job_by_hardware"),
            # The first_job rule, /api/queue/me and the list of one's own, with what that filters by.
            models.Index(
                fields=["submitted_by", "-id", "organization", "status", *LISTED[:-1]],
                name="job_by_person",
            ),
            # The metrics, from the index alone: ends, costs and times of a period's jobs; an organization's, and all.
            models.Index(
                fields=["completed_at", "organization", *MEASURED],
                name="job_ended",
                condition=Q(completed_at__isnull=False),
            ),
            models.Index(
                fields=["organization", "completed_at", *MEASURED],
                name="job_ended_of",
                condition=Q(completed_at__isnull=False),
            ),
            # Estimates: how long a step of such a training took lately, from the index alone.
            models.Index(
                fields=["provider", "hardware_profile", "training_kind", "-completed_at", "seconds_per_step"],
                name="job_pace",
                condition=Q(seconds_per_step__isnull=False),
            ),
            # Waits: how long jobs on this hardware took lately.
            models.Index(
                fields=["provider", "hardware_profile", "-completed_at"],
                name="job_finished",
                condition=Q(status=JobStatus.COMPLETED),
            ),
        ]

    def __str__(self) -> str:
        return self.config_name if self.number is None else f"{self.config_name} #{self.number}"

    @property
    def job_type(self) -> str:
        """ "local" for this machine, "cloud" for everything else."""
        return "local" if self.provider == "local" else "cloud"

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def known_cost(self) -> Decimal | None:
        """Return what it has cost so far, in US dollars; None when that is not known."""
        return self.cost_usd if self.cost_doubt is None else None

    @property
    def estimated_cost_range(self) -> dict[str, Decimal] | None:
        """Return both ends of the estimate in US dollars; None when it is not known."""
        high, low = self.estimated_cost_usd, self.estimated_cost_low_usd
        return None if high is None else {"low": high if low is None else low, "high": high}

    @property
    def result_address(self) -> str:
        """Where a browser finds its result; empty without one. A path of ours is the address of its results' page."""
        if not self.output_url or self.output_url.startswith(("https://", "http://")):
            return self.output_url
        return full_link(reverse("job-results", args=[self.pk]))

    @property
    def shown_error(self) -> str:
        """Its error; of a job for a list, the beginning."""
        return self._beginning_or_all("error_message")

    @property
    def cause(self) -> str:
        """The line of its error that names the cause; empty without an error."""
        return line_of(self.shown_error) if self.error_line is None else self.error_line

    @property
    def shown_sync_error(self) -> str:
        """Why its provider could not be asked about it; of a job for a list, the beginning."""
        return self._beginning_or_all("sync_error")

    def _beginning_or_all(self, name: str) -> str:
        read = vars(self).get(f"{name}_beginning")
        return str(getattr(self, name)) if read is None else beginning(read)

    @property
    def cost_text(self) -> str:
        """What it cost, to be put behind its status; empty for less than a cent."""
        if self.cost_doubt is not None:
            return ", and its cost is not known"
        return f", for ${self.cost_usd:.2f}" if self.cost_usd >= A_CENT else ""

    @property
    def channel(self) -> str:
        """The event channel whose readers may see this job."""
        return organization_channel(self.organization_id)

    def record(self, change: Change) -> None:
        """Put a change of this job, or of something that belongs to it, into its history."""
        record_in_history(self, change)
        self.publish_change(change)
        # What ends a job along with other things has a notice about them all.
        if change.old in ACTIVE and change.new in TERMINAL and not change.along:
            self._store_notice(change)
        if change.old in ACTIVE and change.new in TERMINAL and "stray_of" in self.metadata:
            self._record_at_owner(change)

    def publish_change(self, change: Change) -> None:
        """Publish the event of `change`, or of news that the history doesn't keep."""
        publish(
            Event(
                type="job_status_changed",
                channel=self.channel,
                data={
                    "job_id": self.id,
                    "status": change.new,
                    "previous_status": change.old,
                    "provider": self.provider,
                    "config_name": self.config_name,
                    "error_message": beginning(self.error_message) or None,
                    "error_line": self.cause or None,
                    "at": change.at,
                    "correlation_id": change.correlation_id,
                },
            )
        )

    def _store_notice(self, change: Change) -> None:
        """Have its submitter and its organization notified of its end. notices/ended.py has the text."""
        store(
            f"job_{change.new}",
            key=f"job {self.pk} {change.new}",
            subject=self.config_name,
            audience=Audience(
                users=[] if self.submitted_by_id is None else [self.submitted_by_id],
                organization_id=self.organization_id,
                actor_id=change.actor.user_id,
            ),
            link=f"/jobs/{self.pk}",
            job_id=self.pk,
            data={"by": change.actor.name, "reason": change.reason} if change.new == JobStatus.CANCELLED else {},
        )

    def _record_at_owner(self, change: Change) -> None:
        """A training that turned up too late has ended: the history of the job that it was made for says so too."""
        owner = Job.objects.filter(pk=self.metadata["stray_of"]).first()
        if owner is not None:
            note = f"{self.external_id} has ended: {change.new}{self.cost_text} (job {self.pk})"
            owner.record_note(change.actor, change.source, note)

    def record_note(self, actor: Actor, source: str, reason: str) -> None:
        """Put news into its history with which it keeps its status, and tell whoever shows it."""
        self.record(Change.of(self, self.status, self.status, actor=actor, source=source, reason=reason))

    def announce(self, change: Change) -> None:
        """Send `job_status_changed` to the rooms above. A receiver that fails is logged, and keeps it from no other."""
        signals.job_status_changed.send_robust(sender=Job, job=self, change=change)
