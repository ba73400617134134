"""The local provider as the embedded default has it: this machine costs nothing until the operator says otherwise."""

from django.db import migrations


def add_local(apps, schema_editor):
    apps.get_model("jobs", "ProviderConfig").objects.get_or_create(
        name="local",
        defaults={"default_hardware": "cpu", "cost_per_second": {"cpu": 0}, "seconds_per_step": 0.3},
    )


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [migrations.RunPython(add_local, migrations.RunPython.noop)]
