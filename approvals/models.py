"""The rules that hold submissions, the approval requests, and the decisions about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from approvals.messages import message_of
from approvals.statuses import ALLOWED, RequestStatus, Verdict
from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.names import readable_name
from cloudtrain_site.states import Change, Source, Stateful
from jobs.fuses.actions import CENT, HIGHEST
from jobs.models import Job, Organization, record_in_history
from jobs.roles import Role
from jobs.statuses import FuseAction

DEFAULT_HOURS = 24
#: A year: a deadline further off is a typing mistake.
MAX_EXPIRY_HOURS = 24 * 365
MAX_GLOB_CHARS = 200
#: The columns of a rule's condition.
CRITERION_COLUMNS = (
    *("cost_exceeds", "first_job", "provider", "hardware", "config_name", "role_at_most"),
    "jobs_in_day_exceed",
)
NO_CRITERION = "Set at least one criterion: a rule without any would hold every job."


class ApprovalRule(models.Model):
    """A rule. It holds each submission that meets all of its criteria, until its reviewers approve."""

    name = models.CharField(max_length=100, validators=[readable_name])
    enabled = models.BooleanField(default=True, help_text="A rule that is not enabled holds no jobs.")
    priority = models.IntegerField(
        default=100,
        help_text="Orders the reasons of a held job, the lowest number first. Every rule that matches counts.",
    )
    organization = models.ForeignKey(
        Organization,
        models.CASCADE,
        null=True,
        blank=True,
        help_text="The rule holds jobs of this organization. Empty: of all organizations.",
    )

    cost_exceeds = models.DecimalField(
        max_digits=12,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Holds jobs with a higher estimated cost in US dollars, and jobs with an unknown cost.",
    )
    first_job = models.BooleanField(
        default=False, help_text="Holds all jobs of a user until one of them has been submitted to a provider."
    )
    provider = models.CharField(max_length=40, blank=True, help_text="Holds jobs for this provider.")
    hardware = models.CharField(
        max_length=MAX_GLOB_CHARS,
        blank=True,
        help_text="Holds jobs on hardware with this name, e.g. gpu-a100*.",
    )
    config_name = models.CharField(
        max_length=MAX_GLOB_CHARS,
        blank=True,
        help_text="Holds jobs whose config has this name, e.g. *full-finetune*. This is no protection: submitters "
        "choose the name.",
    )
    role_at_most = models.CharField(
        max_length=20,
        blank=True,
        choices=Role.choices,
        help_text="Holds jobs of submitters with this role in the organization or a lower one.",
    )
    jobs_in_day_exceed = models.PositiveIntegerField(
        "jobs of a user in 24 hours above",
        null=True,
        blank=True,
        help_text="Holds further jobs of a user after this many in 24 hours, counted over all organizations.",
    )

    exempt_roles = models.JSONField(
        default=list,
        blank=True,
        help_text='The rule does not hold jobs of submitters with these roles, e.g. ["lead", "admin"].',
    )
    reviewer_role = models.CharField(
        max_length=20,
        choices=[choice for choice in Role.choices if choice[0] != Role.VIEWER],
        default=Role.LEAD,
        help_text="Members of the job's organization with this role or a higher one can decide.",
    )
    reviewer_group = models.ForeignKey(
        Group,
        # Not SET_NULL: every lead could then decide, instead of the group.
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="If a group is chosen, only its members who are in the job's organization can decide.",
    )
    approvals_needed = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text="How many reviewers must approve a job.",
    )
    self_approval = models.BooleanField(
        default=False,
        help_text="Reviewers can decide about their own jobs, if all rules that hold the job allow it.",
    )
    expires_after_hours = models.PositiveIntegerField(
        default=DEFAULT_HOURS,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_EXPIRY_HOURS)],
        help_text="After so many hours a pending request expires and its job is cancelled. An approval covers "
        "identical retries for the same time. If several rules hold a job, the shortest time counts.",
    )

    max_cost_usd = models.DecimalField(
        "stop at, in US dollars",
        max_digits=12,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(CENT), MaxValueValidator(HIGHEST)],
        help_text="The highest cost of each job that the rule holds, in US dollars. If other rules, the submitter or a "
        "reviewer set a limit too, the lowest counts.",
    )
    fuse_action = models.CharField(
        "when the limit is reached",
        max_length=10,
        blank=True,
        default="",
        db_default="",
        choices=FuseAction.choices,
        help_text="What happens when a job reaches its cost limit. Empty: the submitter's choice, or else the site's "
        "default. If several rules hold a job, the strictest counts.",
    )
    fuse_grace_percent = models.PositiveSmallIntegerField(
        "grace, in percent",
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text="How far beyond its limit a job continues while more is requested, in percent. Empty: the site's "
        "default.",
    )

    class Meta:
        ordering = ["priority", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(organization__isnull=True),
                name="one_general_rule_a_name",
                violation_error_message="There is a rule of this name.",
            ),
            models.UniqueConstraint(
                fields=["organization", "name"],
                name="one_rule_a_name",
                violation_error_message="There is a rule of this name in the organization.",
            ),
            models.CheckConstraint(
                condition=Q(organization__isnull=False)
                | Q(cost_exceeds__isnull=False)
                | Q(first_job=True)
                | ~Q(provider="")
                | ~Q(hardware="")
                | ~Q(config_name="")
                | ~Q(role_at_most="")
                | Q(jobs_in_day_exceed__isnull=False),
                name="rule_has_a_criterion",
                violation_error_message=NO_CRITERION,
            ),
            models.CheckConstraint(
                condition=Q(max_cost_usd__isnull=True) | Q(max_cost_usd__gt=0), name="rule_limit_is_an_amount"
            ),
            models.CheckConstraint(
                condition=Q(fuse_grace_percent__isnull=True) | Q(fuse_grace_percent__lte=100), name="rule_grace_percent"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a rule that would hold everything, and unknown roles."""
        if not self.condition() and self.organization_id is None:
            raise ValidationError(NO_CRITERION)
        if self.exempt_roles is None:
            self.exempt_roles = []
        if not isinstance(self.exempt_roles, list):
            raise ValidationError({"exempt_roles": 'Give a list, e.g. ["lead", "admin"].'})
        unknown = [role for role in self.exempt_roles if role not in Role.values]
        if unknown:
            raise ValidationError(
                {"exempt_roles": f"Not a role: “{unknown[0]}”. Choose from {', '.join(Role.values)}."}
            )

    def condition(self) -> dict[str, Any]:
        """Return the criteria that the rule sets, by column, without the organization. A criterion of 0 is one."""
        values = {name: getattr(self, name) for name in CRITERION_COLUMNS}
        return {name: value for name, value in values.items() if not (value is None or value is False or value == "")}

    @property
    def lifetime(self) -> timedelta:
        """The time until a request of this rule expires, and for which its approval covers retries."""
        return timedelta(hours=self.expires_after_hours)


class ApprovalRequest(Stateful):
    """The request to approve a held job."""

    SUBJECT: ClassVar[str] = "approval"
    ALLOWED = ALLOWED

    job = models.ForeignKey(Job, models.CASCADE, related_name="approval_requests")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="+", db_index=False)
    #: The first of the rules that hold the job; its `requirements` have them all.
    rule_name = models.CharField(max_length=100)
    #: The reasons for the hold, as sentences.
    reason = models.TextField()
    status = models.CharField(max_length=20, choices=RequestStatus.choices, default=RequestStatus.PENDING)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+", db_index=False
    )
    requested_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    reviewed_by = models.CharField(max_length=150, blank=True)
    reviewed_at = models.DateTimeField(null=True)
    review_notes = models.TextField(blank=True)
    is_decided = models.GeneratedField(
        expression=models.ExpressionWrapper(Q(reviewed_at__isnull=False), output_field=models.BooleanField()),
        output_field=models.BooleanField(),
        db_persist=True,
    )
    #: The fingerprint of `terms`: the approval covers these, and nothing else.
    config_digest = models.CharField(max_length=64)
    #: The config, the provider and the cost of the job, as the reviewers saw them.
    terms = models.JSONField(default=dict)
    #: What the job may cost at most: the lowest of what its submitter, its rules and its reviewers said.
    up_to_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    #: The job runs, and may cost this much if the request is approved; null: whether it may run at all is asked for.
    raise_to_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    #: A superuser decided past the reviewers.
    bypassed = models.BooleanField(default=False)
    #: The approval that covers this identical retry.
    kept_from = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+")

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
            # The admin's list and count for one organization: pending, the most urgent first.
            models.Index(
                fields=["organization", "expires_at"], name="request_desk", condition=Q(status=RequestStatus.PENDING)
            ),
            # The admin's list for a superuser, who sees all organizations, in its order.
            models.Index(fields=["is_decided", "expires_at", "-id"], name="request_list"),
            # The approvals page: the last decided requests.
            models.Index(
                fields=["-reviewed_at", "-id"], name="request_decided", condition=Q(reviewed_at__isnull=False)
            ),
            # The same in an organization.
            models.Index(
                fields=["organization", "-reviewed_at", "-id"],
                name="request_decided_in",
                condition=Q(reviewed_at__isnull=False),
            ),
            # The last config of the requester that was approved in the organization. Of all statuses: an index of the
            # approved ones alone, which are most, SQLite takes for a small table, and sorts all of it.
            models.Index(fields=["requested_by", "organization", "status", "-id"], name="request_of_person"),
            # What a removed request was kept from. SQLite reads all requests rather than use an index of many nulls.
            models.Index(fields=["kept_from"], name="request_by_kept_from", condition=Q(kept_from__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"Approval of {self.job}"

    def log_fields(self, **more: object) -> dict[str, object]:
        """Return the `extra` of a log line about the request."""
        return {"job_id": self.job_id, "approval_id": self.pk, "rule": self.rule_name, **more}

    def record(self, change: Change) -> None:
        """Put the change into the job's history, and publish its event to users who may see the job."""
        record_in_history(self.job, change)
        if change.new != RequestStatus.CANCELLED:
            self.publish(change, self.message(change))

    def publish(self, change: Change, message: str) -> None:
        """Publish the event of a change. One that leaves the request pending is announced as requested again."""
        kind = "approval_requested" if change.new == RequestStatus.PENDING else f"approval_{change.new}"
        publish(
            Event(
                type=kind,
                channel=self.job.channel,
                data={
                    "job_id": self.job_id,
                    "approval_id": self.pk,
                    "message": message,
                    "at": change.at,
                    "correlation_id": change.correlation_id,
                },
            )
        )

    def message(self, change: Change) -> str:
        """What happened, in one sentence."""
        return message_of(self.job.config_name, self.reason, self.raise_to_usd, change)


class Requirement(models.Model):
    """The approvals that one rule asks for before a job may go.

    All but the number of approvals is copied when the rule holds the job: a later change of the rule doesn't apply.
    """

    request = models.ForeignKey(ApprovalRequest, models.CASCADE, related_name="requirements", db_index=False)
    #: Its place among the reasons of the request, from 0.
    position = models.PositiveSmallIntegerField()
    rule = models.ForeignKey(ApprovalRule, models.SET_NULL, null=True, related_name="+")
    rule_name = models.CharField(max_length=100)
    reason = models.TextField()
    #: Empty where a group decides: were the group deleted, no role would decide in its place.
    reviewer_role = models.CharField(max_length=20, blank=True)
    reviewer_group = models.ForeignKey(Group, models.SET_NULL, null=True, related_name="+")
    approvals_needed = models.PositiveSmallIntegerField()
    #: Written under the lock of the request's row.
    approvals_given = models.PositiveSmallIntegerField(default=0)
    self_approval = models.BooleanField()
    expires_after_hours = models.PositiveIntegerField()
    max_cost_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            # A request's requirements in their order.
            models.UniqueConstraint(fields=["request", "position"], name="one_requirement_a_position"),
            models.CheckConstraint(
                condition=Q(approvals_given__lte=models.F("approvals_needed")), name="no_approval_too_many"
            ),
        ]
        # The approvals page: what those decide who lead nobody.
        indexes = [models.Index(fields=["reviewer_role", "request"], name="requirement_by_role")]

    def __str__(self) -> str:
        return f"{self.rule_name} of {self.request_id}"

    @property
    def approvals_missing(self) -> int:
        return self.approvals_needed - self.approvals_given


class Decision(models.Model):
    """One person's decision about a request."""

    request = models.ForeignKey(ApprovalRequest, models.CASCADE, related_name="decisions", db_index=False)
    #: The requirements for which an approval counts, by what its author might decide at that moment.
    counted_for = models.ManyToManyField(Requirement, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=150)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    reason = models.TextField(blank=True)
    #: A superuser decided who is no reviewer of the request, or alone where several are needed.
    bypass = models.BooleanField(default=False)
    #: What the job may cost at most, as this person said; null: nothing.
    up_to_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    source = models.CharField(max_length=20, choices=Source.choices)
    correlation_id = models.CharField(max_length=128)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [
            # The approvals of one reviewer in two browsers at the same moment count once.
            models.UniqueConstraint(fields=["request", "user"], name="one_decision_a_person"),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.name}"
