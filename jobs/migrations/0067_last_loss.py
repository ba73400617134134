"""The last loss of a job beside what lists filter by: with a filter, the list by loss read all losses."""

from django.db import migrations, models

from jobs.curves.last_losses import install, uninstall


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0066_unpriced_index'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='last_loss',
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.RunPython(install, uninstall),
    ]
