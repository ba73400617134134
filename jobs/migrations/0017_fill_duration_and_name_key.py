"""Older jobs get what new ones are written with.

Some rows at a time, by the primary key and in statements of their own: nobody else waits for longer than one of them,
and what was filled stays filled when it is stopped.
"""

from django.db import migrations

BATCH = 500
LIMITS = "SELECT MAX(id) FROM (SELECT id FROM jobs_job WHERE id > %s ORDER BY id LIMIT %s) AS batch"
FILL = "UPDATE jobs_job SET name_key = {name_key}, duration_ms = {duration_ms} WHERE id > %s AND id <= %s"
COLUMNS = {
    "postgresql": {
        "name_key": 'lower(config_name COLLATE "C")',
        "duration_ms": (
            "CASE WHEN completed_at >= started_at "
            "THEN ROUND(EXTRACT(EPOCH FROM (completed_at - started_at)) * 1000)::bigint "
            "WHEN completed_at < started_at THEN 0 END"
        ),
    },
    "sqlite": {
        "name_key": "lower(config_name)",
        # NULL when either is.
        "duration_ms": "MAX(0, CAST(ROUND((julianday(completed_at) - julianday(started_at)) * 86400000.0) AS INTEGER))",
    },
}


def fill(apps, schema_editor):
    connection = schema_editor.connection
    statement = FILL.format(**COLUMNS[connection.vendor])
    last = ""
    with connection.cursor() as cursor:
        while limit := _limit(cursor, last):
            cursor.execute(statement, [last, limit])
            last = limit


def _limit(cursor, last):
    cursor.execute(LIMITS, [last, BATCH])
    return cursor.fetchone()[0]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0016_duration_and_name_key")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
