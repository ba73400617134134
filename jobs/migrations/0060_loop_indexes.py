"""The loops read all jobs of a provider on SQLite, whose planner saw no use for `job_active`."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0059_seal_webhook_addresses'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('completed_at__isnull', True)), fields=['provider', 'id'], name='job_unended'),
        ),
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('organization__isnull', True)), fields=['provider'], name='job_unassigned'),
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_active',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
