"""Runs get the kinds that estimates ask for now: with the model, precision, frames, validations and the like.

Of the newest, as they were filled; the others keep a kind that nobody asks for, and tell nothing any more.
"""

from django.db import migrations

from jobs.costs.pace import kind_of_config

MOST_RUNS = 5000
READ = ("config", "dataloader_config")
NO_PACE = {"training_kind": None, "seconds_per_step": None}


def rename(apps, schema_editor):
    job = apps.get_model("jobs", "Job")
    runs = job.objects.filter(seconds_per_step__isnull=False)
    # One at a time: a config may have a megabyte.
    for pk in list(runs.order_by("-completed_at").values_list("pk", flat=True)[:MOST_RUNS]):
        run = job.objects.only(*READ).get(pk=pk)
        # What can't be read for sure is of no kind: what it is taken for may be another's.
        kind = kind_of_config(run.config, run.dataloader_config)
        job.objects.filter(pk=pk).update(**({"training_kind": kind} if kind else NO_PACE))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0029_seconds_of_a_step_of_batch_1")]
    operations = [migrations.RunPython(rename, migrations.RunPython.noop)]
