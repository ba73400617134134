from django.db import migrations, models


class Migration(migrations.Migration):
    """The order of the desk's list as a column, so that an index has it."""

    dependencies = [("approvals", "0005_notices")]

    operations = [
        migrations.AddField(
            model_name="approvalrequest",
            name="is_decided",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.ExpressionWrapper(
                    models.Q(("reviewed_at__isnull", False)), output_field=models.BooleanField()
                ),
                output_field=models.BooleanField(),
            ),
        ),
        migrations.AddIndex(
            model_name="approvalrequest",
            index=models.Index(fields=["is_decided", "expires_at", "-id"], name="request_list"),
        ),
    ]
