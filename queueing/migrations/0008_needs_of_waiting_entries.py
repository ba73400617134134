"""Entries that wait know what their jobs will cost at most. One statement: those that wait are few."""

from django.db import migrations
from django.db.models import OuterRef, Subquery


def fill(apps, schema_editor):
    jobs = apps.get_model("jobs", "Job").objects.filter(pk=OuterRef("job_id"))
    waiting = apps.get_model("queueing", "QueueEntry").objects.filter(status__in=("blocked", "pending"))
    waiting.update(needs_usd=Subquery(jobs.values("estimated_cost_usd")[:1]))


class Migration(migrations.Migration):
    dependencies = [("queueing", "0007_budgets")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
