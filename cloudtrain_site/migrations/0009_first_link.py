from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cloudtrain_site", "0008_theme")]

    operations = [
        migrations.CreateModel(
            name="FirstLink",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("token_digest", models.CharField(max_length=64)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="one_first_link"),
                ],
            },
        ),
    ]
