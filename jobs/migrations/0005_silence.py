from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_replicate_provider")]
    operations = [
        migrations.AddField(
            model_name="providerconfig",
            name="silence_minutes",
            field=models.PositiveIntegerField(
                default=15,
                help_text="With a webhook address: a job not heard of for so long is asked about; 0: never.",
            ),
        ),
    ]
