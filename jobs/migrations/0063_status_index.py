"""A search in the jobs of one status: to count what it finds, a superuser's list read all jobs of that status."""

from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0062_search_indexes'),
    ]

    operations = [
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['-status', '-id', 'deleted_at', 'name_key'], name='job_by_status_name'),
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_status',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
