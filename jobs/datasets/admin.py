"""The uploaded datasets in the admin: their owners, their sizes, and their copies at providers."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.template.defaultfilters import filesizeformat

from cloudtrain_site.wording.admin_pages import PlainValues
from jobs.admin_base import SHOWN, ScopedAdmin
from jobs.models import DatasetCopy, DatasetUpload


class DatasetCopyInline(PlainValues[DatasetCopy], admin.TabularInline[DatasetCopy, DatasetUpload]):
    model = DatasetCopy
    fields = ("provider", "sent_bytes", "external_id", "expires_at", "updated_at")
    readonly_fields = fields
    extra = 0
    labels: ClassVar = {"sent_bytes": "sent"}
    shown: ClassVar = {**SHOWN, "sent_bytes": filesizeformat}
    can_delete = False
    verbose_name_plural = "copies at providers"

    def has_view_permission(self, request: object, obj: object = None) -> bool:
        """Allow it: those who see the dataset see its copies."""
        return True

    def has_add_permission(self, request: object, obj: object = None) -> bool:
        return False


@admin.register(DatasetUpload)
class DatasetUploadAdmin(ScopedAdmin[DatasetUpload]):
    why_nothing = "A dataset that is uploaded for trainings appears here."
    list_display = ("name", "organization", "uploaded_by", "kind", "size", "files", "last_used_at", "removed_at")
    list_filter = ("kind", "organization")
    list_select_related = ("organization", "uploaded_by")
    search_fields = ("=id", "name__folded", "=sha256", "uploaded_by__username__folded")
    ordering = ("-id",)
    shown: ClassVar = {**SHOWN, "size": filesizeformat}
    inlines = (DatasetCopyInline,)
