from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cloudtrain_site", "0007_key_scopes")]

    operations = [
        migrations.AddField(
            model_name="preferences",
            name="theme",
            field=models.CharField(blank=True, db_default="", default="", help_text="light or dark; empty: the browser's.", max_length=5),
        ),
    ]
