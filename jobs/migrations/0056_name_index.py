"""A search that finds no name read all of them: seconds with a million jobs."""

from django.db import migrations

from jobs.finding.name_index import install, uninstall


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0055_log_removed_at'),
    ]

    operations = [
        migrations.RunPython(install, uninstall),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
