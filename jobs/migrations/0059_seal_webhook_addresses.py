"""Jobs of older versions show the path of their webhook's address, which lets whoever reads it call it: it is sealed
like those of new jobs. Each row by itself, once, and only as it was read. Jobs that have not ended stay as they are: an
approval covers one whose `sealed` is as it was."""

from django.db import migrations

from cloudtrain_site.encryption import SecretsLostError, open_sealed, restore_secrets, seal
from jobs.configs.secrets import ADDRESS, masked_address

BATCH = 200
ENDED = ("completed", "failed", "cancelled")


def seal_addresses(apps, schema_editor):
    ended = apps.get_model("jobs", "Job").objects.filter(status__in=ENDED, webhook_url__gt="")
    jobs = ended.only("sealed", "webhook_url").order_by("pk")
    batch = list(jobs[:BATCH])
    while batch:
        for job in batch:
            seal_address(job)
        batch = list(jobs.filter(pk__gt=batch[-1].pk)[:BATCH])


def seal_address(job):
    if masked_address(job.webhook_url) == job.webhook_url:
        return
    try:
        secrets = open_sealed(job.sealed)
    except SecretsLostError:
        return
    address = restore_secrets({ADDRESS: job.webhook_url}, [one for one in secrets if one[0][0] == ADDRESS])[ADDRESS]
    others = [one for one in secrets if one[0][0] != ADDRESS]
    as_read = type(job).objects.filter(pk=job.pk, sealed=job.sealed, webhook_url=job.webhook_url)
    as_read.update(webhook_url=masked_address(address), sealed=seal([*others, ((ADDRESS,), address)]))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0058_metrics_index")]
    operations = [migrations.RunPython(seal_addresses, migrations.RunPython.noop)]
