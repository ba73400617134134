"""A search read the whole index of training ids, which begins with the provider, and for two letters all names."""

from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline
from jobs.finding.name_index import install_pairs, uninstall_pairs


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0061_day_figures'),
    ]

    operations = [
        AddIndexOnline(
            model_name='job',
            index=models.Index(condition=models.Q(('external_id__isnull', False)), fields=['external_id'], name='job_by_external'),
        ),
        migrations.RunPython(install_pairs, uninstall_pairs),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
