"""Entries from before there were turns get theirs."""

from django.db import migrations

SECONDS_A_POINT = 360


def add_turns(apps, schema_editor):
    entries = apps.get_model("queueing", "QueueEntry").objects
    for entry in entries.only("pk", "enqueued_at", "effective_priority").iterator():
        turn = entry.enqueued_at.timestamp() - entry.effective_priority * SECONDS_A_POINT
        entries.filter(pk=entry.pk).update(turn=turn)


class Migration(migrations.Migration):
    dependencies = [("queueing", "0003_turns_and_lanes")]
    operations = [migrations.RunPython(add_turns, migrations.RunPython.noop)]
