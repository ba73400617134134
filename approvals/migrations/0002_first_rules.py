"""Two rules to start with, so that the first start already holds what is dear or unknown."""

from decimal import Decimal

from django.db import migrations


def add_rules(apps, schema_editor):
    rules = apps.get_model("approvals", "ApprovalRule").objects
    rules.get_or_create(
        name="first_job", defaults={"first_job": True, "priority": 10, "exempt_roles": ["lead", "admin"]}
    )
    rules.get_or_create(name="cost_exceeds", defaults={"cost_exceeds": Decimal(50), "priority": 20})


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial")]
    operations = [migrations.RunPython(add_rules, migrations.RunPython.noop)]
