"""The shapes of requests, checked; and those of answers, for the schema."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from cloudtrain_site.api import StrictSerializer
from jobs.configs.submission import problem_with
from jobs.extensions import facets_of
from jobs.models import Job, JobEvent
from jobs.permissions import AnyUser
from jobs.providers import NAMES
from jobs.statuses import JobStatus
from jobs.validators import NAME_LIMIT, holds_no_secret, plain_name


def keepable(value: Any) -> None:
    """Refuse JSON that can't be kept."""
    problem = problem_with(value)
    if problem is not None:
        raise serializers.ValidationError(problem)


def json_object(value: Any) -> None:
    """Refuse JSON that is not an object."""
    if not isinstance(value, dict):
        raise serializers.ValidationError("A config is a JSON object.")


class JobListQuery(serializers.Serializer[Any]):
    """Which jobs, and which page of them."""

    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)
    offset = serializers.IntegerField(min_value=0, default=0)
    cursor = serializers.CharField(max_length=26, default="", allow_blank=True)
    status = serializers.MultipleChoiceField(choices=JobStatus.choices, default=set)
    provider = serializers.CharField(max_length=40, default="", allow_blank=True)
    job_type = serializers.ChoiceField(choices=["cloud", "local"], default="", allow_blank=True)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)
    search = serializers.CharField(max_length=NAME_LIMIT, default="", allow_blank=True)
    sync_active = serializers.BooleanField(default=False)


class SyncQuery(serializers.Serializer[Any]):
    """Where to look for jobs, and for how many."""

    provider = serializers.ChoiceField(choices=NAMES, default="replicate")
    limit = serializers.IntegerField(min_value=1, max_value=5000, default=100)


class LogQuery(serializers.Serializer[Any]):
    """Which part of a log: the last `tail` lines, or what comes after byte `since`."""

    tail = serializers.IntegerField(min_value=1, max_value=100_000, required=False)
    since = serializers.IntegerField(min_value=0, default=0)


class CancelBody(StrictSerializer):
    """Why a job is stopped, if anybody wants to know."""

    reason = serializers.CharField(max_length=2000, default="", allow_blank=True)


class StoredConfigBody(StrictSerializer):
    """A config to be kept under a name."""

    config = serializers.JSONField(validators=[json_object, keepable])
    dataloader_config = serializers.ListField(default=list, validators=[keepable])
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)


class SubmitBody(StrictSerializer):
    """The contract's submission."""

    config = serializers.JSONField(required=False, validators=[json_object, keepable])
    config_name_to_load = serializers.CharField(max_length=NAME_LIMIT, required=False)
    dataloader_config = serializers.ListField(required=False, validators=[keepable])
    config_name = serializers.CharField(max_length=NAME_LIMIT, required=False, validators=[plain_name, holds_no_secret])
    hardware_profile = serializers.CharField(max_length=40, default="", allow_blank=True)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)
    tracker_run_name = serializers.CharField(
        max_length=NAME_LIMIT, default="", allow_blank=True, validators=[holds_no_secret]
    )
    webhook_url = serializers.URLField(max_length=500, default="", allow_blank=True)
    dataset = serializers.CharField(max_length=26, default="", allow_blank=True)
    idempotency_key = serializers.CharField(max_length=200, default="", allow_blank=True)
    dry_run = serializers.BooleanField(default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two ways to give a config."""
        if ("config" in attrs) == ("config_name_to_load" in attrs):
            raise serializers.ValidationError("Give either config or config_name_to_load: one of the two, not both.")
        return attrs


class SubmitQuery(serializers.Serializer[Any]):
    """Where a submission goes."""

    provider = serializers.ChoiceField(
        choices=NAMES,
        default=NAMES[0],
        error_messages={"invalid_choice": f"There is no provider {{input!r}}. There are: {', '.join(NAMES)}."},
    )


class JobShape(serializers.Serializer[Any]):
    """A job."""

    job_id = serializers.CharField()
    job_type = serializers.ChoiceField(choices=["cloud", "local"])
    provider = serializers.CharField()
    external_id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=JobStatus.choices)
    config_name = serializers.CharField()
    hardware_profile = serializers.CharField(allow_null=True)
    organization = serializers.CharField(allow_null=True)
    submitted_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    duration_seconds = serializers.FloatField(allow_null=True)
    cost_usd = serializers.FloatField()
    estimated_cost_usd = serializers.FloatField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    output_url = serializers.CharField(allow_null=True)
    stage = serializers.CharField(allow_null=True)
    progress = serializers.FloatField(allow_null=True)
    last_log = serializers.CharField(allow_null=True)
    queue_status = serializers.CharField(allow_null=True)
    queue_position = serializers.IntegerField(allow_null=True)
    estimated_wait_seconds = serializers.FloatField(allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    attempt = serializers.IntegerField()
    approval_status = serializers.CharField(allow_null=True)
    approval_id = serializers.IntegerField(allow_null=True)
    correlation_id = serializers.CharField()
    last_synced_at = serializers.DateTimeField(allow_null=True)
    metadata = serializers.DictField()


class SyncOutcome(serializers.Serializer[Any]):
    """What came of refreshing the active jobs."""

    refreshed = serializers.IntegerField()
    failed = serializers.IntegerField()


class SyncShape(serializers.Serializer[Any]):
    """What a discovery found: new jobs, and known ones that changed."""

    synced = serializers.IntegerField()
    updated = serializers.IntegerField()
    message = serializers.CharField()


class JobListShape(serializers.Serializer[Any]):
    """A page of jobs."""

    jobs = JobShape(many=True)
    total = serializers.IntegerField()
    next_cursor = serializers.CharField(allow_null=True)
    sync = SyncOutcome(required=False)


class JobDetailShape(serializers.Serializer[Any]):
    """One job."""

    job = JobShape()


class InlineProgressShape(serializers.Serializer[Any]):
    """How far a running job is."""

    job_id = serializers.CharField()
    stage = serializers.CharField(allow_null=True)
    last_log = serializers.CharField(allow_null=True)
    progress = serializers.FloatField(allow_null=True)


class LogShape(serializers.Serializer[Any]):
    """A piece of a log; `offset` is what to give as `since` next."""

    job_id = serializers.CharField()
    logs = serializers.CharField()
    offset = serializers.IntegerField()
    complete = serializers.BooleanField()


class JobEventShape(serializers.Serializer[Any]):
    """One line of a job's history."""

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    subject = serializers.CharField()
    old = serializers.CharField(allow_null=True)
    new = serializers.CharField()
    actor = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    reason = serializers.CharField(allow_null=True)
    correlation_id = serializers.CharField()


class JobEventsShape(serializers.Serializer[Any]):
    """A job's whole history, oldest first."""

    events = JobEventShape(many=True)


class SeriesShape(serializers.Serializer[Any]):
    """Pairs of step and value, by name."""

    series = serializers.DictField(child=serializers.ListField(child=serializers.ListField()))


class DoneShape(serializers.Serializer[Any]):
    """It was done."""

    success = serializers.BooleanField()
    job_id = serializers.CharField()
    status = serializers.CharField(required=False)


class SubmittedShape(serializers.Serializer[Any]):
    """What became of a submission."""

    success = serializers.BooleanField()
    job_id = serializers.CharField()
    status = serializers.CharField()
    idempotent_hit = serializers.BooleanField()
    requires_approval = serializers.BooleanField()
    approval_id = serializers.IntegerField(allow_null=True)
    queue_position = serializers.IntegerField(allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField())


class StoredConfigShape(serializers.Serializer[Any]):
    """A stored config."""

    name = serializers.CharField()
    organization = serializers.CharField()
    config = serializers.DictField()
    dataloader_config = serializers.ListField()
    updated_at = serializers.DateTimeField()


class StoredConfigListShape(serializers.Serializer[Any]):
    """The stored configs."""

    configs = StoredConfigShape(many=True)


class ProviderSettingsBody(StrictSerializer):
    """What an admin sets for a provider; what is left out stays."""

    enabled = serializers.BooleanField(required=False)
    webhook_url = serializers.URLField(max_length=500, required=False, allow_blank=True, validators=[holds_no_secret])
    webhook_networks = serializers.ListField(child=serializers.CharField(max_length=50), required=False)
    signature_required = serializers.BooleanField(required=False)
    model_version = serializers.CharField(max_length=200, required=False, allow_blank=True)
    default_hardware = serializers.CharField(max_length=40, required=False, allow_blank=True)
    cost_per_second = serializers.DictField(child=serializers.FloatField(min_value=0), required=False)
    seconds_per_step = serializers.FloatField(min_value=0, required=False)
    silence_minutes = serializers.IntegerField(min_value=0, max_value=100_000, required=False)
    discovery_organization = serializers.CharField(max_length=100, required=False, allow_null=True)

    def validate_webhook_networks(self, networks: list[str]) -> list[str]:
        """Each is one that `ipaddress` knows."""
        for network in networks:
            try:
                ip_network(network, strict=False)
            except ValueError as error:
                raise serializers.ValidationError(f"{network!r} is no network, like 10.0.0.0/8.") from error
        return networks


class ProviderSettingsShape(serializers.Serializer[Any]):
    """A provider with all of its settings, for its admins."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    enabled = serializers.BooleanField()
    hardware = serializers.ListField(child=serializers.CharField())
    default_hardware = serializers.CharField()
    cost_per_second = serializers.DictField()
    webhook_url = serializers.CharField(allow_null=True)
    webhook_networks = serializers.ListField(child=serializers.CharField())
    signature_required = serializers.BooleanField()
    model_version = serializers.CharField()
    seconds_per_step = serializers.FloatField()
    silence_minutes = serializers.IntegerField()
    webhooks_missed_at = serializers.DateTimeField(allow_null=True)
    prices_as_of = serializers.DateField(allow_null=True)
    discovery_organization = serializers.CharField(allow_null=True)


class ProviderShape(serializers.Serializer[Any]):
    """A provider."""

    prices_as_of = serializers.DateField(allow_null=True, help_text="When its prices were last looked up.")
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    enabled = serializers.BooleanField()
    hardware = serializers.ListField(child=serializers.CharField())
    default_hardware = serializers.CharField()
    cost_per_second = serializers.DictField()
    webhook_url = serializers.CharField(allow_null=True)


class ProviderListShape(serializers.Serializer[Any]):
    """The providers."""

    providers = ProviderShape(many=True)


class ValidationShape(serializers.Serializer[Any]):
    """Whether a provider would take a job now."""

    valid = serializers.BooleanField()
    message = serializers.CharField()


#: What the rooms above fill in, and what stands there when they have nothing to say.
FACET_FIELDS: dict[str, Any] = {
    "queue_status": None,
    "queue_position": None,
    "estimated_wait_seconds": None,
    "waiting_reason": None,
    "approval_status": None,
    "approval_id": None,
}


def as_utc(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and a `Z`."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def represent(jobs: Sequence[Job], viewer: AnyUser) -> list[dict[str, Any]]:
    """The jobs as `viewer` gets to see them, in their order."""
    told = facets_of(jobs, viewer, FACET_FIELDS)
    return [_represent(job, told[job.pk]) for job in jobs]


def _represent(job: Job, facet: dict[str, Any]) -> dict[str, Any]:
    extra = FACET_FIELDS | facet
    return {
        "job_id": job.pk,
        "job_type": job.job_type,
        "provider": job.provider,
        "external_id": job.external_id,
        "status": job.status,
        "config_name": job.config_name,
        "hardware_profile": job.hardware_profile or None,
        "organization": job.organization.name if job.organization else None,
        "submitted_by": job.submitted_by.get_username() if job.submitted_by else None,
        "created_at": as_utc(job.created_at),
        "queued_at": as_utc(job.queued_at),
        "started_at": as_utc(job.started_at),
        "completed_at": as_utc(job.completed_at),
        "duration_seconds": seconds_of(job),
        "cost_usd": float(job.cost_usd),
        "estimated_cost_usd": None if job.estimated_cost_usd is None else float(job.estimated_cost_usd),
        "error_message": job.error_message or None,
        "output_url": job.output_url or None,
        "stage": job.stage,
        "progress": job.progress,
        "last_log": job.last_log,
        "queue_status": extra["queue_status"],
        "queue_position": extra["queue_position"],
        "estimated_wait_seconds": extra["estimated_wait_seconds"],
        "waiting_reason": extra["waiting_reason"],
        "attempt": job.attempt,
        "approval_status": extra["approval_status"],
        "approval_id": extra["approval_id"],
        "correlation_id": job.correlation_id,
        "last_synced_at": as_utc(job.last_synced_at),
        "metadata": _metadata(job),
    }


def seconds_of(job: Job) -> float | None:
    """For how long it ran, or has run so far; None before it started."""
    if job.started_at is None:
        return None
    return round(((job.completed_at or timezone.now()) - job.started_at).total_seconds(), 3)


def _metadata(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = dict(job.metadata)
    if job.cancel_requested_at is not None:
        told["cancel_requested_at"] = as_utc(job.cancel_requested_at)
        told["cancel_requested_by"] = job.cancel_requested_by
    if job.sync_error:
        told["sync_error"] = job.sync_error
    if job.retry_of_id:
        told["retry_of"] = job.retry_of_id
    return told


def represent_event(event: JobEvent) -> dict[str, Any]:
    """One line of a job's history."""
    return {
        "id": event.pk,
        "at": as_utc(event.at),
        "subject": event.subject,
        "old": event.old or None,
        "new": event.new,
        "actor": event.actor,
        "source": event.source,
        "reason": event.reason or None,
        "correlation_id": event.correlation_id,
    }
