"""Names with letters outside ASCII get the key that they are searched by.

Some rows at a time, and only those whose key changes: nobody else waits for longer than one statement, and what was
done stays done when it is stopped.
"""

from django.db import migrations

from cloudtrain_site.database.folding import folded

BATCH = 500


def fold(apps, schema_editor):
    job = apps.get_model("jobs", "Job")
    limit = job._meta.get_field("name_key").max_length
    last = ""
    while batch := list(job.objects.filter(pk__gt=last).order_by("pk").values_list("pk", "config_name", "name_key")[:BATCH]):
        for pk, name, key in batch:
            if not name.isascii() and key != (new := folded(name)[:limit]):
                job.objects.filter(pk=pk).update(name_key=new)
        last = batch[-1][0]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0022_paces_of_old_runs")]
    operations = [migrations.RunPython(fold, migrations.RunPython.noop)]
