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
        default="", allow_blank=True, max_length=4096, help_text="A folder of the output; without it, all of it."
    )


class FileQuery(StrictSerializer):
    thumbnail = serializers.ChoiceField(
        WIDTHS, required=False, help_text="Of a picture: a small copy instead, at most as many pixels wide and high."
    )


class OutputSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(help_text="From the output's own folder on.")
    kind = serializers.ChoiceField(OutputKind.choices)
    size = serializers.IntegerField(help_text="In bytes.")
    step = serializers.IntegerField(allow_null=True, help_text="The step at which it was written, as its name says.")
    modified_at = UtcField()


class OutputListSerializer(serializers.Serializer[Any]):
    outputs = OutputSerializer(many=True)
    complete = serializers.BooleanField(help_text="Nothing more will come: the training has ended.")


class KeepingSerializer(serializers.Serializer[Any]):
    """A job's `StoredOutput`."""

    job_id = serializers.CharField(source="pk")
    pinned = serializers.SerializerMethodField()
    pinned_by = serializers.SerializerMethodField()
    pinned_at = UtcField(allow_null=True)
    remove_at = UtcField(allow_null=True, help_text="When files will be removed, unless they are pinned before.")
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
