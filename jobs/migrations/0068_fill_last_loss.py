"""The jobs get the losses of the curves that are kept already, and the list by loss its index.

Some rows at a time and in statements of their own: nobody else waits for longer than one of them, and what was filled
stays filled when it is stopped. A loss that came since the triggers are there is newer than what is read here.
"""

from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline

BATCH = 100
LIMIT = """
SELECT MAX(job_id) FROM (
    SELECT job_id FROM jobs_keptcurves WHERE job_id > %s AND last_loss IS NOT NULL ORDER BY job_id LIMIT %s
) AS batch
"""
FILL = """
UPDATE jobs_job SET last_loss = kept.last_loss FROM jobs_keptcurves AS kept
WHERE kept.job_id = jobs_job.id AND kept.job_id > %s AND kept.job_id <= %s
AND kept.last_loss IS NOT NULL AND jobs_job.last_loss IS NULL
"""


def fill(apps, schema_editor):
    last = ""
    with schema_editor.connection.cursor() as cursor:
        while limit := _limit(cursor, last):
            cursor.execute(FILL, [last, limit])
            last = limit


def _limit(cursor, last):
    cursor.execute(LIMIT, [last, BATCH])
    return cursor.fetchone()[0]


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0067_last_loss'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        AddIndexOnline(
            model_name='job',
            index=models.Index(fields=['organization', 'last_loss', '-id', 'status', 'deleted_at', 'provider', 'hardware_profile', 'submitted_by'], name='job_list_loss'),
        ),
        migrations.RemoveIndex(
            model_name='keptcurves',
            name='curves_by_loss',
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
