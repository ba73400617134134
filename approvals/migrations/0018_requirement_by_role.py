"""The approvals page looked for a role's requirement at each request that was ever decided in the organization."""

from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0017_kept_from_index'),
    ]

    operations = [
        AddIndexOnline(
            model_name='requirement',
            index=models.Index(fields=['reviewer_role', 'request'], name='requirement_by_role'),
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
