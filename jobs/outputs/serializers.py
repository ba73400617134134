"""The outputs in the API: what a request may ask, and what the answers hold."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cloudtrain_site.api import StrictSerializer, UtcField
from jobs.models import StoredOutput
from jobs.outputs.kinds import OutputKind
from jobs.outputs.thumbnails import WIDTHS


class FolderQuery(StrictSerializer):
    path = serializers.CharField(
        default="", allow_blank=True, max_length=4096, help_text="A folder of the output. Default: all of it."
    )


class FileQuery(StrictSerializer):
    thumbnail = serializers.ChoiceField(
        WIDTHS, required=False, help_text="For an image: a copy of at most this width and height in pixels."
    )


class OutputSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(help_text="Relative to the job's output folder.")
    kind = serializers.ChoiceField(OutputKind.choices)
    size = serializers.IntegerField(help_text="In bytes.")
    step = serializers.IntegerField(allow_null=True, help_text="The training step in the file's name.")
    modified_at = UtcField()


class OutputListSerializer(serializers.Serializer[Any]):
    outputs = OutputSerializer(many=True)
    complete = serializers.BooleanField(help_text="The training has ended: no more files will follow.")


class KeepingSerializer(serializers.Serializer[Any]):
    """How long a job's files are kept."""

    job_id = serializers.CharField(source="pk")
    pinned = serializers.SerializerMethodField()
    pinned_by = serializers.SerializerMethodField()
    pinned_at = UtcField(allow_null=True)
    remove_at = UtcField(allow_null=True, help_text="When files will be removed, unless they are pinned.")
    removes = serializers.SerializerMethodField(help_text="What will be removed then.")
    removed_at = UtcField(allow_null=True, help_text="When files were last removed.")

    def get_pinned(self, row: StoredOutput) -> bool:
        return row.pinned_at is not None

    def get_pinned_by(self, row: StoredOutput) -> str | None:
        return row.pinned_by or None

    @extend_schema_field(serializers.ChoiceField(["all", "checkpoints"], allow_null=True))
    def get_removes(self, row: StoredOutput) -> str | None:
        if row.remove_at is None:
            return None
        return "all" if row.takes_all else "checkpoints"
