from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0023_fold_name_keys'),
    ]

    operations = [
        migrations.RemoveIndex(model_name='job', name='job_by_name_key'),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['name_key', 'id', 'organization', 'deleted_at'], name='job_by_name_key'),
        ),
    ]
