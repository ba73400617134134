"""The answers about runs that were made from others."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cloudtrain_site.api import OptionalTextField, StrictSerializer, UtcField
from jobs.api.serializers import seconds_of
from jobs.runs.changes import change_text
from jobs.runs.compare import ComparedJob
from jobs.statuses import JobStatus


class ChangeSerializer(serializers.Serializer[Any]):
    """A setting that differs from the parent's. null: not set. Both values of a changed secret are `***`."""

    path = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)
    text = serializers.SerializerMethodField()

    def get_text(self, item: dict[str, Any]) -> str:
        return change_text(item)


class ChangesSerializer(serializers.Serializer[Any]):
    """How many settings differ from the parent's, and the first 100 of them."""

    total = serializers.IntegerField()
    items = ChangeSerializer(many=True)


class RunSerializer(serializers.Serializer[Any]):
    """A run of a tree."""

    job_id = serializers.CharField(source="job.pk")
    number = serializers.IntegerField(help_text="The run's number in the tree: from 1, in the order of submission.")
    parent = serializers.CharField(source="job.parent_id", allow_null=True)  # type: ignore[assignment]
    retry_of = serializers.CharField(source="job.retry_of_id", allow_null=True)
    config_name = serializers.CharField(source="job.config_name")
    status = serializers.ChoiceField(source="job.status", choices=JobStatus.choices)
    submitted_by = serializers.CharField(source="job.submitted_by.username", allow_null=True, default=None)
    created_at = UtcField(source="job.created_at")
    changes = ChangesSerializer(source="job.changes", allow_null=True)
    checkpoint_of = serializers.CharField(source="job.checkpoint_of_id", allow_null=True)
    checkpoint = serializers.CharField(source="job.checkpoint", allow_null=True)
    text = OptionalTextField(help_text="The changes in one line.")


class TreeSerializer(serializers.Serializer[Any]):
    """A tree of runs: each comes before those made from it. At most the newest 50."""

    name = serializers.CharField()
    total = serializers.IntegerField()
    runs = RunSerializer(many=True)


class CompareQuery(StrictSerializer):
    """Which jobs: two to five."""

    id = serializers.ListField(child=serializers.CharField(max_length=128), allow_empty=True, default=list)


class ComparedJobSerializer(serializers.Serializer[Any]):
    """One of the jobs, with its curves as in `metrics`, but at most about 1,000 points of each."""

    job_id = serializers.CharField(source="job.pk")
    config_name = serializers.CharField(source="job.config_name")
    status = serializers.ChoiceField(source="job.status", choices=JobStatus.choices)
    provider = serializers.CharField(source="job.provider")
    hardware_profile = OptionalTextField(source="job.hardware_profile")
    submitted_by = serializers.CharField(source="job.submitted_by.username", allow_null=True, default=None)
    created_at = UtcField(source="job.created_at")
    duration_seconds = serializers.SerializerMethodField()
    cost_usd = serializers.FloatField(source="job.known_cost", allow_null=True)
    cost_doubt = serializers.CharField(source="job.cost_doubt", allow_null=True)
    step = serializers.IntegerField(source="job.step", allow_null=True)
    last_loss = serializers.SerializerMethodField()
    lowest_loss = serializers.SerializerMethodField()
    series = serializers.SerializerMethodField()
    seconds = serializers.SerializerMethodField()
    gaps = serializers.SerializerMethodField()
    is_being_read = serializers.BooleanField(
        help_text="Its log is still being read; its curves follow in a few seconds."
    )

    def get_duration_seconds(self, one: ComparedJob) -> float | None:
        return seconds_of(one.job)

    def get_last_loss(self, one: ComparedJob) -> float | None:
        return one.losses["loss"][0] if "loss" in one.losses else None

    def get_lowest_loss(self, one: ComparedJob) -> float | None:
        return one.losses["loss"][1] if "loss" in one.losses else None

    # Unchanged: a list field would convert each of the points.

    def get_series(self, one: ComparedJob) -> dict[str, list[list[float]]]:
        return one.curves.series  # type: ignore[return-value]

    def get_seconds(self, one: ComparedJob) -> list[list[float]]:
        return one.curves.seconds  # type: ignore[return-value]

    def get_gaps(self, one: ComparedJob) -> dict[str, list[list[int]]]:
        return one.curves.gaps  # type: ignore[return-value]


class DifferenceSerializer(serializers.Serializer[Any]):
    """A setting that differs between the jobs. null: not set."""

    path = serializers.CharField()
    values = serializers.ListField(child=serializers.JSONField(allow_null=True))


class ComparisonSerializer(serializers.Serializer[Any]):
    """The jobs in the order of the ids, and the differences of their configs: how many, and the first of them."""

    jobs = ComparedJobSerializer(many=True)
    differences = DifferenceSerializer(many=True)
    differences_total = serializers.IntegerField()


class NextSubmissionSerializer(serializers.Serializer[Any]):
    """A body for `POST /api/cloud/jobs/submit`. Secrets are masked; the server puts the parent's secrets back."""

    parent = serializers.CharField()  # type: ignore[assignment]
    config = serializers.DictField()
    dataloader_config = serializers.ListField()
    config_name = serializers.CharField()
    hardware_profile = serializers.CharField()
    organization = serializers.CharField()
    tracker_run_name = serializers.CharField()
    webhook_url = serializers.CharField()
    dataset = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    max_cost_usd = serializers.FloatField(allow_null=True)
    fuse_action = serializers.CharField(allow_null=True)


class CheckpointSerializer(serializers.Serializer[Any]):
    """A checkpoint that a run can go on from: its `path` is the submission's `checkpoint`."""

    path = serializers.CharField()
    step = serializers.IntegerField()
    size = serializers.IntegerField()


class NextRunSerializer(serializers.Serializer[Any]):
    """The submission and the checkpoints for a run with changes."""

    provider = serializers.CharField()
    submission = NextSubmissionSerializer()
    remarks = serializers.ListField(child=serializers.CharField())
    checkpoints = CheckpointSerializer(many=True)
    checkpoints_reason = OptionalTextField(help_text="Why there are no checkpoints.")
