"""Jobs that ran and have no cost, because no price or no true figure was there, say that it is not known.

Some rows at a time; what was done stays done when it is stopped.
"""

from django.db import migrations

BATCH = 500
UNTRUE = {
    "billed_seconds": "the seconds that it is billed for",
    "completed_at": "its end",
    "started_at": "its start",
}
READ = ("pk", "status", "metadata", "hardware_profile", "started_at", "duration_ms", "cost_usd")


def doubt_about(row):
    """Return why the cost of an ended job is not known; empty when it is."""
    refused = row["metadata"].get("refused", {})
    has_run = row["status"] == "completed" or row["started_at"] or {"billed_seconds", "started_at"} & refused.keys()
    if "price" in row["metadata"] or not has_run:
        return ""
    untrue = next((name for name in UNTRUE if name in refused), None)
    # A start that can't be true matters only where ours is missing too.
    if untrue and not (untrue == "started_at" and row["started_at"]):
        return f"{UNTRUE[untrue]}, as its provider tells it, can't be true: {refused[untrue]}."
    if row["cost_usd"] or row["duration_ms"] == 0:
        return ""
    return f"there is no price for {row['hardware_profile'] or 'the default hardware'}."


def doubt(apps, schema_editor):
    ended = apps.get_model("jobs", "Job").objects.filter(completed_at__isnull=False)
    last = ""
    while batch := list(ended.filter(pk__gt=last).order_by("pk").values(*READ)[:BATCH]):
        for row in batch:
            if why := doubt_about(row):
                ended.filter(pk=row["pk"]).update(cost_doubt=why)
        last = batch[-1]["pk"]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0027_costs_that_are_not_known")]
    operations = [migrations.RunPython(doubt, migrations.RunPython.noop)]
