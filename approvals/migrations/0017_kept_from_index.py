"""The removal of old requests: by the index of the foreign key, nearly all null, SQLite read all requests each time."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0016_request_indexes'),
        ('jobs', '0062_search_indexes'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='approvalrequest',
            index=models.Index(condition=models.Q(('kept_from__isnull', False)), fields=['kept_from'], name='request_by_kept_from'),
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
