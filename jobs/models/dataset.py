"""Uploaded datasets, and their copies at providers."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from jobs.identifiers import new_job_id


class DatasetUpload(models.Model):
    """One uploaded archive for trainings. Its content never changes: another one has another id."""

    class Kind(models.TextChoices):
        ZIP = "zip", "zip"
        TAR = "tar", "tar"
        TAR_GZ = "tar.gz", "tar.gz"

    id = models.CharField(primary_key=True, max_length=26, default=new_job_id, editable=False)
    organization = models.ForeignKey("jobs.Organization", models.PROTECT, related_name="uploads")
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="uploads")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    files = models.PositiveIntegerField()
    unpacked_size = models.PositiveBigIntegerField()
    #: The machine that received it.
    stored_on = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(default=timezone.now)
    #: Since when the archive is gone; its row stays for the jobs that had it.
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            # GET /api/cloud/uploads: one's own, newest first.
            models.Index(fields=["uploaded_by", "-id"], name="upload_by_user"),
            # The sweep: what has not been used for long.
            models.Index(fields=["last_used_at"], name="upload_unused", condition=Q(removed_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class DatasetCopy(models.Model):
    """How much of a dataset a provider has, and the provider's id of it."""

    upload = models.ForeignKey(DatasetUpload, models.CASCADE, related_name="copies")
    provider = models.CharField(max_length=40)
    sent_bytes = models.PositiveBigIntegerField(default=0)
    #: Empty until all of it is there.
    external_id = models.CharField(max_length=200, blank=True)
    address = models.CharField(max_length=2000, blank=True)
    expires_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "dataset copies"
        constraints = [models.UniqueConstraint(fields=["upload", "provider"], name="one_copy_a_provider")]

    def __str__(self) -> str:
        return f"{self.upload_id} at {self.provider}"
