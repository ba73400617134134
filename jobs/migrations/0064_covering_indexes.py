"""Counts of one status with another filter, and of one person's jobs, read each of these jobs."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0063_status_index'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['organization', '-status', '-id', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by', 'name_key'], name='job_list_by_status'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['submitted_by', '-id', 'organization', 'status', 'deleted_at', 'provider', 'hardware_profile'], name='job_by_person'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['-status', '-id', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by', 'name_key'], name='job_by_status_listed'),
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_status_name',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_list_status',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_submitter',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
