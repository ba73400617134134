"""Uploaded datasets, what providers have of them, and which job has which."""

import django.db.models.deletion
import django.utils.timezone
import jobs.identifiers
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0004_replicate_provider"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DatasetUpload",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=jobs.identifiers.new_job_id,
                        editable=False,
                        max_length=26,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(choices=[("zip", "zip"), ("tar", "tar"), ("tar.gz", "tar.gz")], max_length=10),
                ),
                ("size", models.PositiveBigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("files", models.PositiveIntegerField()),
                ("unpacked_size", models.PositiveBigIntegerField()),
                ("stored_on", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_used_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="uploads", to="jobs.organization"
                    ),
                ),
                (
                    "uploaded_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="uploads", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="DatasetCopy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider", models.CharField(max_length=40)),
                ("sent_bytes", models.PositiveBigIntegerField(default=0)),
                ("external_id", models.CharField(blank=True, max_length=200)),
                ("address", models.CharField(blank=True, max_length=2000)),
                ("expires_at", models.DateTimeField(null=True)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="copies", to="jobs.datasetupload"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "dataset copies",
            },
        ),
        migrations.AddField(
            model_name="job",
            name="dataset",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="jobs", to="jobs.datasetupload"
            ),
        ),
        migrations.AddIndex(
            model_name="datasetupload",
            index=models.Index(fields=["uploaded_by", "-id"], name="upload_by_user"),
        ),
        migrations.AddIndex(
            model_name="datasetupload",
            index=models.Index(condition=models.Q(("removed_at", None)), fields=["last_used_at"], name="upload_unused"),
        ),
        migrations.AddConstraint(
            model_name="datasetcopy",
            constraint=models.UniqueConstraint(fields=("upload", "provider"), name="one_copy_a_provider"),
        ),
    ]
