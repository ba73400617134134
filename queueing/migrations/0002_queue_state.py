"""The one row that the whole queue shares."""

from django.db import migrations


def add_state(apps, schema_editor):
    apps.get_model("queueing", "QueueState").objects.get_or_create(pk=1)


class Migration(migrations.Migration):
    dependencies = [("queueing", "0001_initial")]
    operations = [migrations.RunPython(add_state, migrations.RunPython.noop)]
