"""Plainer labels and help texts. No table changes."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('cloudtrain_site', '0011_key_digest'),
    ]

    operations = [
        migrations.AlterField(
            model_name='preferences',
            name='theme',
            field=models.CharField(blank=True, db_default='', default='', help_text="light or dark. Empty: the browser's.", max_length=5),
        ),
        migrations.AlterField(
            model_name='preferences',
            name='time_zone',
            field=models.CharField(blank=True, help_text="For example Europe/Berlin. Empty: the browser's.", max_length=60),
        ),
    ]
