"""The metrics of one organization read all jobs of the period, or all of the organization."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0057_list_indexes'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('completed_at__isnull', False)), fields=['organization', 'completed_at', 'status', 'cost_usd', 'cost_doubt', 'started_at', 'created_at', 'submission_marker'], name='job_ended_of'),
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
