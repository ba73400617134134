"""Old jobs get their numbers, in the order of their submission, and each organization its counter."""

from django.db import migrations

NUMBER = """
UPDATE jobs_job SET number = numbered.number FROM (
    SELECT id, ROW_NUMBER() OVER (PARTITION BY organization_id ORDER BY id) AS number
    FROM jobs_job WHERE organization_id IS NOT NULL
) AS numbered WHERE jobs_job.id = numbered.id
"""
COUNT = """
INSERT INTO jobs_runcounter (organization_id, last)
SELECT organization_id, MAX(number) FROM jobs_job WHERE number IS NOT NULL GROUP BY organization_id
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0048_run_numbers")]
    operations = [
        migrations.RunSQL(NUMBER, migrations.RunSQL.noop),
        migrations.RunSQL(COUNT, "DELETE FROM jobs_runcounter"),
    ]
