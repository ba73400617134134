"""Older runs tell how long a step takes, as new ones do; without them an estimate could fall below what was learned.

Only the newest, by which estimates go, a few of each kind: what was filled stays filled when it is stopped.
"""

from collections import Counter

from django.db import migrations

from jobs.configs.reading import read_config
from jobs.costs.pace import kind_of, pace_of
from jobs.providers.first_step import first_step

#: Runs that are looked at, runs of one kind that are filled, and pieces of a log that are read.
MOST_RUNS = 5000
MOST_OF_A_KIND = 20
MOST_PIECES = 20
READ = ("provider", "hardware_profile", "config", "dataloader_config", "step", "total_steps", "duration_ms")


def fill(apps, schema_editor):
    Job, LogPiece = apps.get_model("jobs", "Job"), apps.get_model("jobs", "LogPiece")
    completed = Job.objects.filter(status="completed", seconds_per_step=None, step__gt=0, duration_ms__gt=0)
    filled = Counter()
    # One at a time: a config may have a megabyte.
    for pk in list(completed.order_by("-completed_at").values_list("pk", flat=True)[:MOST_RUNS]):
        job = Job.objects.only(*READ).get(pk=pk)
        kind = (job.provider, job.hardware_profile, kind_of(read_config(job.config, job.dataloader_config)))
        if filled[kind] == MOST_OF_A_KIND:
            continue
        pieces = LogPiece.objects.filter(job=job).order_by("start").values_list("text", flat=True)[:MOST_PIECES]
        began = first_step("".join(pieces), job.total_steps)
        pace = pace_of(job.config, job.dataloader_config, step=job.step, first_step=began, duration_ms=job.duration_ms)
        if pace is not None:
            Job.objects.filter(pk=job.pk).update(training_kind=pace[0], seconds_per_step=pace[1])
            filled[kind] += 1


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0021_estimates_by_kind")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
