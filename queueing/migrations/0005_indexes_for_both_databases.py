from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("queueing", "0004_turns_of_old_entries")]
    operations = [
        migrations.RemoveIndex(model_name="queueentry", name="entry_in_order"),
        migrations.RemoveIndex(model_name="queueentry", name="entry_by_organization"),
        migrations.AddIndex(
            model_name="queueentry", index=models.Index(fields=["status", "turn", "id"], name="entry_by_status")
        ),
        migrations.AddIndex(
            model_name="queueentry",
            index=models.Index(fields=["organization", "status", "turn"], name="entry_of_organization"),
        ),
        migrations.AddIndex(
            model_name="queueentry",
            index=models.Index(
                condition=models.Q(("claim_token__isnull", False)),
                fields=["user", "organization", "provider"],
                name="entry_holds_slot",
            ),
        ),
        migrations.AddConstraint(
            model_name="queueentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "running"), _negated=True), ("claim_token__isnull", False), _connector="OR"
                ),
                name="entry_slot_claimed",
            ),
        ),
    ]
