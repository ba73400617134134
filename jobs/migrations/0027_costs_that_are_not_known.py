from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0026_provider_waiting_reason'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='cost_doubt',
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_ended',
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('completed_at__isnull', False)), fields=['completed_at', 'organization', 'status', 'cost_usd', 'cost_doubt', 'started_at', 'created_at', 'submission_marker'], name='job_ended'),
        ),
    ]
