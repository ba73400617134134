"""Days of costs say whether their job had another one before them."""

from django.db import migrations, models
from django.db.models import Exists, OuterRef

BY_DAY = [
    *("day", "organization", "user", "provider", "hardware"),
    *("spent", "is_unpriced", "is_further", "job"),
]


def mark_further_days(apps, schema_editor):
    days = apps.get_model("jobs", "DayCost").objects
    earlier = days.filter(job=OuterRef("job"), day__lt=OuterRef("day"))
    days.filter(Exists(earlier)).update(is_further=True)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0050_list_columns_views_and_notes")]

    operations = [
        migrations.RemoveIndex(model_name="daycost", name="day_cost_by_day_and_job"),
        migrations.AddField("daycost", "is_further", models.BooleanField(default=False)),
        migrations.RunPython(mark_further_days, migrations.RunPython.noop),
        migrations.AddIndex("daycost", models.Index(fields=BY_DAY, name="day_cost_by_day_and_job")),
        migrations.AddIndex(
            "daycost",
            models.Index(fields=["day", "job"], condition=models.Q(is_further=True), name="day_cost_further"),
        ),
    ]
