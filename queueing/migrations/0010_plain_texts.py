"""Plainer labels and help texts. No table changes."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('queueing', '0009_limits_on_the_audit_record'),
        ('jobs', '0054_plain_texts'),
    ]

    operations = [
        migrations.AlterField(
            model_name='budget',
            name='action',
            field=models.CharField(choices=[('hold', 'Let running jobs continue'), ('finish', 'Let running jobs continue and warn their submitters'), ('cancel', 'Cancel running jobs')], default='hold', max_length=6),
        ),
        migrations.AlterField(
            model_name='providerlimit',
            name='drained',
            field=models.BooleanField(default=False, help_text='No new jobs start there. Running jobs continue.'),
        ),
        migrations.AlterField(
            model_name='queueentry',
            name='status',
            field=models.CharField(choices=[('blocked', 'Held'), ('pending', 'Waiting'), ('dispatching', 'Starting'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=20),
        ),
        migrations.AlterField(
            model_name='queuestate',
            name='fair_share',
            field=models.BooleanField(default=False, help_text='The organization with the fewest running jobs for its share goes first.'),
        ),
        migrations.AlterField(
            model_name='queuestate',
            name='paused',
            field=models.BooleanField(default=False, help_text='No jobs start. Running jobs continue.'),
        ),
    ]
