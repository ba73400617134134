from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0018_orders_by_column'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_name',
        ),
        migrations.RemoveIndex(
            model_name='job',
            name='job_by_duration',
        ),
    ]
