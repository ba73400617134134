"""While a dataset is on its way, no training has been asked for."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_dataset_uploads"),
        ("queueing", "0005_indexes_for_both_databases"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="queueentry",
            name="staging_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="queueentry",
            index=models.Index(
                condition=models.Q(("staging_since__isnull", False)), fields=["lease_until"], name="entry_staging"
            ),
        ),
    ]
