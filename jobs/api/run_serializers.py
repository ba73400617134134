"""The answers about runs that were made from others."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cloudtrain_site.api import OptionalTextField, UtcField
from jobs.runs.changes import change_text
from jobs.statuses import JobStatus


class ChangeSerializer(serializers.Serializer[Any]):
    """A setting that differs from the parent's; null: it is not there. Of a changed secret both are `***`."""

    path = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)
    text = serializers.SerializerMethodField()

    def get_text(self, item: dict[str, Any]) -> str:
        return change_text(item)


class ChangesSerializer(serializers.Serializer[Any]):
    """What differs from the parent: the number of settings, and the first hundred of them."""

    total = serializers.IntegerField()
    items = ChangeSerializer(many=True)


class RunSerializer(serializers.Serializer[Any]):
    """A run of a tree."""

    job_id = serializers.CharField(source="job.pk")
    number = serializers.IntegerField(help_text="Counted from 1, by submission.")
    parent = serializers.CharField(source="job.parent_id", allow_null=True)  # type: ignore[assignment]
    retry_of = serializers.CharField(source="job.retry_of_id", allow_null=True)
    config_name = serializers.CharField(source="job.config_name")
    status = serializers.ChoiceField(source="job.status", choices=JobStatus.choices)
    submitted_by = serializers.CharField(source="job.submitted_by.username", allow_null=True, default=None)
    created_at = UtcField(source="job.created_at")
    changes = ChangesSerializer(source="job.changes", allow_null=True)
    checkpoint_of = serializers.CharField(source="job.checkpoint_of_id", allow_null=True)
    checkpoint = serializers.CharField(source="job.checkpoint", allow_null=True)
    text = OptionalTextField(help_text="What differs, in one line.")


class TreeSerializer(serializers.Serializer[Any]):
    """A tree of runs, each before those that were made from it: of a large one the newest fifty."""

    name = serializers.CharField()
    total = serializers.IntegerField()
    runs = RunSerializer(many=True)


class NextSubmissionSerializer(serializers.Serializer[Any]):
    """A body for `POST /api/cloud/jobs/submit`, secrets masked: repeated masks are replaced by the parent's secrets."""

    parent = serializers.CharField()  # type: ignore[assignment]
    config = serializers.DictField()
    dataloader_config = serializers.ListField()
    config_name = serializers.CharField()
    hardware_profile = serializers.CharField()
    organization = serializers.CharField()
    tracker_run_name = serializers.CharField()
    webhook_url = serializers.CharField()
    dataset = serializers.CharField()
    max_cost_usd = serializers.FloatField(allow_null=True)


class CheckpointSerializer(serializers.Serializer[Any]):
    """A checkpoint that a run can go on from: its `path` is the submission's `checkpoint`."""

    path = serializers.CharField()
    step = serializers.IntegerField()
    size = serializers.IntegerField()


class NextRunSerializer(serializers.Serializer[Any]):
    """What a run with changes begins with."""

    provider = serializers.CharField()
    submission = NextSubmissionSerializer()
    remarks = serializers.ListField(child=serializers.CharField())
    checkpoints = CheckpointSerializer(many=True)
    checkpoints_reason = OptionalTextField(help_text="Why there are none.")
