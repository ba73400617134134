"""The last config that was approved: PostgreSQL read all approved requests of a person, 80 ms a page."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0014_plain_texts'),
        ('jobs', '0061_day_figures'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='approvalrequest',
            index=models.Index(condition=models.Q(('status', 'approved')), fields=['requested_by', 'organization', '-id'], name='request_approved_in'),
        ),
        migrations.RemoveIndex(
            model_name='approvalrequest',
            name='request_approved',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
