"""The queries and answers about jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cloudtrain_site.api import MAX_OFFSET, OptionalTextField, StrictSerializer, SuccessField, UtcField, as_utc
from jobs.configs.known_keys import Finding
from jobs.extensions import facets_of
from jobs.models import Job
from jobs.models.tag import MAX_TAG_CHARACTERS
from jobs.permissions import AnyUser
from jobs.providers import names
from jobs.statuses import FuseAction, JobStatus
from jobs.validators import NAME_LIMIT


class JobFilters(serializers.Serializer[Any]):
    """Which jobs, and which page of them."""

    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)
    offset = serializers.IntegerField(min_value=0, max_value=MAX_OFFSET, default=0)
    cursor = serializers.CharField(max_length=26, default="", allow_blank=True)
    status = serializers.MultipleChoiceField(choices=JobStatus.choices, default=set)
    provider = serializers.CharField(max_length=40, default="", allow_blank=True)
    job_type = serializers.ChoiceField(choices=["cloud", "local"], default="", allow_blank=True)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)
    tag = serializers.CharField(max_length=MAX_TAG_CHARACTERS, default="", allow_blank=True)
    search = serializers.CharField(max_length=NAME_LIMIT, default="", allow_blank=True)
    sync_active = serializers.BooleanField(default=False)


class JobListQuery(StrictSerializer, JobFilters):
    """The same, and nothing else."""


class ProviderField(serializers.ChoiceField):
    """The name of a provider: of those that there are when it is read. A schema has those of when it is made."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=names(), **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the name. Raises ValidationError."""
        if data == "" and self.allow_blank:
            return ""
        choices = names()
        if data not in choices:
            raise serializers.ValidationError(
                f"There is no provider “{data}”. There are: {', '.join(choices)}.", code="invalid_choice"
            )
        return str(data)


class SyncQuery(StrictSerializer):
    """Where to look for jobs (left out: wherever trainings can be listed), and for how many."""

    provider = ProviderField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=5000, default=100)


class LogQuery(StrictSerializer):
    """Which part of a log: the last `tail` lines, or what comes after byte `since`."""

    tail = serializers.IntegerField(min_value=1, max_value=100_000, required=False)
    since = serializers.IntegerField(min_value=0, default=0)


class CancelBody(StrictSerializer):
    """The reason of a cancellation, if any."""

    reason = serializers.CharField(max_length=2000, default="", allow_blank=True)


class RangeSerializer(serializers.Serializer[Any]):
    """The lower and the upper end of what is expected."""

    low = serializers.FloatField()
    high = serializers.FloatField()


class JobSerializer(serializers.Serializer[Job]):
    """A job."""

    # `with_facets` adds what the rooms above say of it.
    job_id = serializers.CharField(source="pk")
    number = serializers.IntegerField(
        allow_null=True, help_text="The job's number in its organization; null without an organization."
    )
    job_type = serializers.ChoiceField(choices=["cloud", "local"])
    provider = serializers.CharField()
    external_id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=JobStatus.choices)
    config_name = serializers.CharField()
    hardware_profile = OptionalTextField()
    organization = serializers.CharField(source="organization.name", allow_null=True)
    submitted_by = serializers.CharField(source="submitted_by.username", allow_null=True)
    created_at = UtcField()
    queued_at = UtcField(allow_null=True)
    started_at = UtcField(allow_null=True)
    completed_at = UtcField(allow_null=True)
    duration_seconds = serializers.SerializerMethodField()
    cost_usd = serializers.FloatField(
        source="known_cost", allow_null=True, help_text="Null: not known; `cost_doubt` says why."
    )
    cost_doubt = serializers.CharField(allow_null=True, help_text="Why the cost is not known, as a sentence.")
    estimated_cost_usd = serializers.FloatField(allow_null=True)
    max_cost_usd = serializers.FloatField(
        allow_null=True, help_text="The job's cost limit: it is cancelled before it costs more."
    )
    fuse_action = serializers.ChoiceField(
        FuseAction.choices, allow_null=True, help_text="What happens at the cost limit. Null: the site's default."
    )
    committed_usd = serializers.FloatField(help_text="What the job has spent, plus what is reserved for it.")
    estimated_cost_range = serializers.SerializerMethodField()
    estimate_source = serializers.CharField(allow_null=True)
    error_message = OptionalTextField(source="shown_error", help_text="In lists, the first 300 characters.")
    error_line = OptionalTextField(source="cause", help_text="The line of the error message that names the cause.")
    output_url = OptionalTextField(
        source="result_address", help_text="Where the results are. If this site serves them: the job's results page."
    )
    stage = serializers.CharField(allow_null=True)
    progress = serializers.FloatField(allow_null=True)
    last_log = serializers.CharField(allow_null=True)
    queue_status = serializers.CharField(allow_null=True)
    queue_position = serializers.IntegerField(allow_null=True)
    estimated_wait_seconds = serializers.FloatField(allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    attempt = serializers.IntegerField()
    parent = serializers.CharField(  # type: ignore[assignment]
        source="parent_id", allow_null=True, help_text="The id of the job that this run was made from."
    )
    approval_status = serializers.CharField(allow_null=True)
    approval_id = serializers.IntegerField(allow_null=True)
    tags = serializers.SerializerMethodField()
    correlation_id = serializers.CharField()
    last_synced_at = UtcField(allow_null=True)
    metadata = serializers.SerializerMethodField()

    @cached_property
    def _readers(self) -> list[tuple[str, Callable[[Job], Any], Callable[[Any], Any]]]:
        return [(name, _reader_of(field), field.to_representation) for name, field in self.fields.items()]

    def to_representation(self, job: Job) -> dict[str, Any]:
        """Do as the library does, but read plain attributes in one place: 12 ms, not 19, for 500 jobs."""
        data = {}
        for name, read, render in self._readers:
            value = read(job)
            data[name] = None if value is None else render(value)
        return data

    def get_tags(self, job: Job) -> list[str]:
        return list(job.tags)  # type: ignore[attr-defined]

    def get_duration_seconds(self, job: Job) -> float | None:
        return seconds_of(job)

    # A nested serializer takes 4 ms longer for 500 jobs.
    @extend_schema_field(RangeSerializer(allow_null=True))
    def get_estimated_cost_range(self, job: Job) -> dict[str, float] | None:
        ends = job.estimated_cost_range
        return None if ends is None else {name: float(end) for name, end in ends.items()}

    def get_metadata(self, job: Job) -> dict[str, Any]:
        data: dict[str, Any] = dict(job.metadata)
        if job.cancel_requested_at is not None:
            data["cancel_requested_at"] = as_utc(job.cancel_requested_at)
            data["cancel_requested_by"] = job.cancel_requested_by
        if job.shown_sync_error:
            data["sync_error"] = job.shown_sync_error
        if job.retry_of_id:
            data["retry_of"] = job.retry_of_id
        return data


def _reader_of(field: serializers.Field[Any, Any, Any, Any]) -> Callable[[Job], Any]:
    source = str(field.source)
    return attrgetter(source) if source.isidentifier() else field.get_attribute


#: The fields that the rooms above fill in, with their values when they don't.
FACET_FIELDS: dict[str, Any] = {
    "queue_status": None,
    "queue_position": None,
    "estimated_wait_seconds": None,
    "waiting_reason": None,
    "approval_status": None,
    "approval_id": None,
    "committed_usd": 0.0,
    "tags": (),
}


def with_facets(jobs: Sequence[Job], viewer: AnyUser) -> Sequence[Job]:
    """Return the jobs with the facets' fields for `viewer` as attributes, like a query's annotations."""
    facets = facets_of(jobs, viewer, FACET_FIELDS)
    for job in jobs:
        vars(job).update(FACET_FIELDS | facets[job.pk])
    return jobs


def seconds_of(job: Job) -> float | None:
    """Return for how long it ran, or has run so far; None: it has not started, or how long it ran is not known."""
    if job.completed_at is not None:
        return None if job.duration_ms is None else job.duration_ms / 1000
    if job.started_at is None:
        return None
    return max(0.0, round((timezone.now() - job.started_at).total_seconds(), 3))


class RefreshSerializer(serializers.Serializer[Any]):
    """The result of refreshing the active jobs."""

    refreshed = serializers.IntegerField()
    failed = serializers.IntegerField()


class JobListSerializer(serializers.Serializer[Any]):
    """A page of jobs."""

    jobs = JobSerializer(many=True)
    total = serializers.IntegerField(help_text="At most 10,000.")
    total_is_capped = serializers.BooleanField(required=False, help_text="Whether there are more than `total`.")
    next_cursor = serializers.CharField(allow_null=True)
    sync = RefreshSerializer(required=False)


class JobDetailSerializer(serializers.Serializer[Any]):
    """One job."""

    job = JobSerializer()


class DiscoverySerializer(serializers.Serializer[Any]):
    """The result of a discovery: new jobs, and known ones that changed."""

    synced = serializers.IntegerField(source="new")
    updated = serializers.IntegerField()
    message = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField(), required=False)

    def to_representation(self, outcome: Any) -> dict[str, Any]:
        """Return the contract's three fields, and the warnings only where there are some."""
        data: dict[str, Any] = super().to_representation(outcome)
        return data if data["warnings"] else {name: data[name] for name in data if name != "warnings"}


class InlineProgressSerializer(serializers.Serializer[Job]):
    """The progress of a running job."""

    job_id = serializers.CharField(source="pk")
    stage = serializers.CharField(allow_null=True)
    last_log = serializers.CharField(allow_null=True)
    progress = serializers.FloatField(allow_null=True)


class LogSerializer(serializers.Serializer[Any]):
    """A part of a log. Send `offset` as the next request's `since`."""

    job_id = serializers.CharField()
    logs = serializers.CharField(source="piece.text")
    offset = serializers.IntegerField(source="piece.end")
    complete = serializers.BooleanField(source="piece.complete")


class JobEventSerializer(serializers.Serializer[Any]):
    """One line of a job's history."""

    id = serializers.IntegerField()
    at = UtcField()
    subject = serializers.CharField()
    old = OptionalTextField()
    new = serializers.CharField()
    actor = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    reason = OptionalTextField()
    correlation_id = serializers.CharField()


class JobHistorySerializer(serializers.Serializer[Any]):
    """A job's whole history, oldest first."""

    events = JobEventSerializer(many=True)


class FindingSerializer(serializers.Serializer[Finding]):
    """A likely mistake in a config: its place as a JSON pointer into the submission ("/config/learning_rte"), a
    sentence that is also among the warnings, and the name that was probably meant, if any."""

    place = serializers.CharField()
    text = serializers.CharField()
    suggestion = OptionalTextField()


class DeletedJobSerializer(serializers.Serializer[Job]):
    """The deleted job."""

    success = SuccessField()
    job_id = serializers.CharField(source="pk")


class ChangedJobSerializer(DeletedJobSerializer):
    """The changed job, with its new status."""

    status = serializers.CharField()
