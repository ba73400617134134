"""The last decisions of an organization, and lists of approved requests: SQLite sorted all of them for each page."""

from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0015_approved_in_organization'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexOnline(
            model_name='approvalrequest',
            index=models.Index(condition=models.Q(('reviewed_at__isnull', False)), fields=['organization', '-reviewed_at', '-id'], name='request_decided_in'),
        ),
        AddIndexOnline(
            model_name='approvalrequest',
            index=models.Index(fields=['requested_by', 'organization', 'status', '-id'], name='request_of_person'),
        ),
        migrations.RemoveIndex(
            model_name='approvalrequest',
            name='request_approved_in',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
