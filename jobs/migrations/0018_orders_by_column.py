from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0017_fill_duration_and_name_key'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['name_key', 'id'], name='job_by_name_key'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('duration_ms__isnull', False)), fields=['-duration_ms', '-id'], name='job_by_duration_ms'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('started_at__isnull', True)), fields=['started_at', '-id'], name='job_not_begun'),
        ),
    ]
