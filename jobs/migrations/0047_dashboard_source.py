from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0046_reports_from_indexes'),
    ]

    operations = [
        migrations.AlterField(
            model_name='jobevent',
            name='source',
            field=models.CharField(choices=[('api', 'Api'), ('dashboard', 'Dashboard'), ('admin', 'Admin'), ('webhook', 'Webhook'), ('poll', 'Poll'), ('loop', 'Loop'), ('command', 'Command'), ('dispatcher', 'Dispatcher')], max_length=20),
        ),
    ]
