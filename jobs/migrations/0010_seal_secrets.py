"""Secrets that are stored in clear are sealed. Each row by itself: what was done stays done, and is not done twice."""

from django.db import migrations

from cloudtrain_site.encryption import SecretsLostError, open_sealed, restore_secrets, seal, extract_secrets

PARTS = {"Job": ("config", "dataloader_config", "webhook_url"), "TrainingConfig": ("config", "dataloader_config")}
BATCH = 200


def rows_of(apps, name, **wanted):
    """Few at a time, since a config may have a megabyte."""
    rows = apps.get_model("jobs", name).objects.filter(**wanted).order_by("pk")
    batch = list(rows[:BATCH])
    while batch:
        yield from batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:BATCH])


def seal_all(apps, schema_editor):
    for name, parts in PARTS.items():
        for row in rows_of(apps, name, sealed=""):
            columns, secrets = extract_secrets({part: getattr(row, part) for part in parts})
            if secrets:
                columns |= {"sealed": seal(secrets)}
                if "webhook_url" in columns:
                    columns["webhook_url"] = columns["webhook_url"][:500]
                type(row).objects.filter(pk=row.pk).update(**columns)


def open_all(apps, schema_editor):
    """What can't be opened stays masked."""
    for name, parts in PARTS.items():
        for row in rows_of(apps, name, sealed__gt=""):
            try:
                columns = restore_secrets({part: getattr(row, part) for part in parts}, open_sealed(row.sealed))
            except SecretsLostError:
                continue
            type(row).objects.filter(pk=row.pk).update(**columns, sealed="")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0009_sealed_secrets")]
    operations = [migrations.RunPython(seal_all, open_all)]
