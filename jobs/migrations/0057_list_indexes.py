"""The list of jobs by each of its orders within one organization: with a million jobs it read most of them."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0056_name_index'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['organization', 'id', 'status', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by', 'name_key'], name='job_list'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['organization', 'name_key', 'id', 'status', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by'], name='job_list_name'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['organization', '-status', '-id', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by'], name='job_list_status'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['organization', '-cost_usd', '-id', 'status', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by'], name='job_list_cost'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('duration_ms__isnull', False)), fields=['organization', '-duration_ms', '-id', 'status', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by'], name='job_list_duration'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('completed_at__isnull', True)), fields=['organization', 'started_at', '-id'], name='job_list_going'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('started_at__isnull', True)), fields=['organization', 'started_at', '-id'], name='job_list_not_begun'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('completed_at__isnull', True)), fields=['organization', 'status'], name='job_open'),
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_cost',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_going',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_organization',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_duration_ms',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_not_begun',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_name_key',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
