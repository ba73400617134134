"""Datasets over HTTP: what comes in, checked, and how they go out."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cloudtrain_site.api import MAX_OFFSET, StrictSerializer, SuccessField, UtcField, as_utc
from cloudtrain_site.enterprise import config_in_force
from jobs.datasets.upload_handler import FIELD
from jobs.models import DatasetCopy, DatasetUpload


@extend_schema_field(OpenApiTypes.BINARY)
class ArchiveField(serializers.FileField):
    """A file, and for the schema its bytes, not an address."""


class UploadBody(StrictSerializer):
    """A dataset: one zip, tar or tar.gz of at most 100,000,000 bytes, and for which organization it is."""

    file = ArchiveField(error_messages={"required": f"Send the archive in the field {FIELD!r}."})
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)


class UploadListQuery(StrictSerializer):
    """Which page of one's own uploads."""

    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)
    offset = serializers.IntegerField(min_value=0, max_value=MAX_OFFSET, default=0)


class TransferSerializer(serializers.Serializer[Any]):
    """How much of the dataset a provider has received."""

    provider = serializers.CharField()
    progress = serializers.SerializerMethodField()
    sent_bytes = serializers.IntegerField()
    complete = serializers.SerializerMethodField()
    expires_at = UtcField(allow_null=True)

    def get_progress(self, copy: DatasetCopy) -> float:
        return 100.0 if copy.address else min(99.0, round(100 * copy.sent_bytes / copy.upload.size, 1))

    def get_complete(self, copy: DatasetCopy) -> bool:
        return bool(copy.address)


class UploadSerializer(serializers.Serializer[DatasetUpload]):
    """An upload: `ready` here, `uploading` to a provider, or `uploaded` there; with the last transfer's progress."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=DatasetUpload.Kind.choices)
    state = serializers.SerializerMethodField()
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    files = serializers.IntegerField()
    unpacked_size = serializers.IntegerField()
    organization = serializers.CharField(source="organization.name")
    uploaded_by = serializers.CharField(source="uploaded_by.username")
    created_at = UtcField()
    last_used_at = UtcField()
    expires_at = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    transfers = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ChoiceField(choices=["ready", "uploading", "uploaded"]))
    def get_state(self, upload: DatasetUpload) -> str:
        copies = _copies_of(upload)
        return "ready" if not copies else "uploaded" if copies[0].address else "uploading"

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_expires_at(self, upload: DatasetUpload) -> str | None:
        """Return when it is removed unless a job uses it before; None: never."""
        lifetime = config_in_force().retention.uploads
        return None if lifetime is None else as_utc(upload.last_used_at + lifetime)

    def get_progress(self, upload: DatasetUpload) -> float | None:
        copies = _copies_of(upload)
        return TransferSerializer().get_progress(copies[0]) if copies else None

    @extend_schema_field(TransferSerializer(many=True))
    def get_transfers(self, upload: DatasetUpload) -> Any:
        return TransferSerializer(_copies_of(upload), many=True).data


def _copies_of(upload: DatasetUpload) -> list[DatasetCopy]:
    """What providers have of it, the last transfer first."""
    now = timezone.now()
    copies = [copy for copy in upload.copies.all() if copy.expires_at is None or copy.expires_at > now]
    return sorted(copies, key=lambda copy: copy.updated_at, reverse=True)


class UploadDetailSerializer(serializers.Serializer[Any]):
    """One upload."""

    upload = UploadSerializer()


class UploadListSerializer(serializers.Serializer[Any]):
    """A page of uploads, newest first."""

    uploads = UploadSerializer(many=True)
    total = serializers.IntegerField()


class RemovedUploadSerializer(serializers.Serializer[DatasetUpload]):
    """The dataset is gone."""

    success = SuccessField()
    id = serializers.CharField()
