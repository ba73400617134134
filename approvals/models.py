"""Rules that hold a submission, and the requests that they make."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from approvals.statuses import ALLOWED, RequestStatus
from cloudtrain_site.events import News, publish
from cloudtrain_site.states import Change, Stateful
from jobs.models import Job, Organization, record_in_history
from jobs.roles import Role

DEFAULT_HOURS = 24


class ApprovalRule(models.Model):
    """A submission that meets all the criteria that a rule sets is held until a reviewer lets it go."""

    name = models.CharField(max_length=100, unique=True)
    enabled = models.BooleanField(default=True)
    priority = models.IntegerField(
        default=100, help_text="Rules are tried from the lowest number up; the first that matches holds."
    )
    cost_exceeds = models.DecimalField(
        max_digits=12,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Holds jobs whose estimated cost is above this many US dollars.",
    )
    first_job = models.BooleanField(default=False, help_text="Holds the first job that a user ever submits.")
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, help_text="Only this organization's; empty: everybody's."
    )
    exempt_roles = models.JSONField(default=list, blank=True, help_text='Roles it never holds, e.g. ["lead", "admin"].')
    expires_after_hours = models.PositiveIntegerField(
        default=DEFAULT_HOURS, validators=[MinValueValidator(1)], help_text="How long a reviewer has."
    )

    class Meta:
        ordering = ["priority", "id"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a rule that would hold everything, and roles that there are not."""
        if self.cost_exceeds is None and not self.first_job:
            raise ValidationError("Set at least one criterion: a rule without any would hold every job.")
        unknown = [role for role in self.exempt_roles if role not in Role.values]
        if unknown:
            raise ValidationError(
                {"exempt_roles": f"Not a role: {unknown[0]!r}. Choose from {', '.join(Role.values)}."}
            )

    @property
    def lifetime(self) -> timedelta:
        """How long a request of this rule lives."""
        return timedelta(hours=self.expires_after_hours)


class ApprovalRequest(Stateful):
    """The question whether a held job may go."""

    SUBJECT: ClassVar[str] = "approval"
    ALLOWED = ALLOWED

    job = models.ForeignKey(Job, models.CASCADE, related_name="approval_requests")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+")
    rule = models.ForeignKey(ApprovalRule, models.SET_NULL, null=True, related_name="+")
    rule_name = models.CharField(max_length=100)
    #: Why it is held, in words.
    reason = models.TextField()
    status = models.CharField(max_length=20, choices=RequestStatus.choices, default=RequestStatus.PENDING)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    requested_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    reviewed_by = models.CharField(max_length=150, blank=True)
    reviewed_at = models.DateTimeField(null=True)
    review_notes = models.TextField(blank=True)
    config_digest = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job"], condition=Q(status=RequestStatus.PENDING), name="one_pending_request_a_job"
            ),
            models.CheckConstraint(
                condition=Q(status=RequestStatus.PENDING, reviewed_at__isnull=True)
                | (~Q(status=RequestStatus.PENDING) & Q(reviewed_at__isnull=False)),
                name="request_reviewed_when_decided",
            ),
        ]
        indexes = [
            # The expiry sweeper, and the reviewer's list by time left.
            models.Index(fields=["expires_at"], name="request_deadline", condition=Q(status=RequestStatus.PENDING)),
            # GET /api/approvals, newest first, for one organization.
            models.Index(fields=["organization", "-id"], name="request_by_organization"),
        ]

    def __str__(self) -> str:
        return f"approval of {self.job_id}"

    def record(self, change: Change) -> None:
        """Put the decision into the job's history, and tell those who may see the job."""
        record_in_history(self.job, change)
        kind = "approval_requested" if change.new == RequestStatus.PENDING else f"approval_{change.new}"
        if change.new == RequestStatus.CANCELLED:
            return
        publish(
            News(
                type=kind,
                channel=self.job.channel,
                data={
                    "job_id": self.job_id,
                    "approval_id": self.pk,
                    "message": self.message(change),
                    "at": change.at,
                    "correlation_id": change.correlation_id,
                },
            )
        )

    def message(self, change: Change) -> str:
        """What happened, in one sentence."""
        name = self.job.config_name
        match change.new:
            case RequestStatus.PENDING:
                return f"{name} waits for approval: {self.reason}"
            case RequestStatus.EXPIRED:
                return f"The approval of {name} ran out before anybody decided."
            case _:
                notes = f": {change.reason}" if change.reason else ""
                return f"{name} was {change.new} by {change.actor.name}{notes}"
