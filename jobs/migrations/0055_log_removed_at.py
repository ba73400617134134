"""Logs that are files are removed after a time; jobs whose log is gone are not looked at again."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0054_plain_texts'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='log_removed_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
