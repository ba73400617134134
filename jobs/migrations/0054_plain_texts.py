"""Plainer labels and help texts. No table changes."""

import django.core.validators
import django.db.models.deletion
import jobs.models.organization
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0053_runs_by_loss'),
    ]

    operations = [
        migrations.AlterField(
            model_name='job',
            name='estimated_cost_usd',
            field=models.DecimalField(decimal_places=4, max_digits=12, null=True, verbose_name='estimated cost, in dollars'),
        ),
        migrations.AlterField(
            model_name='job',
            name='fuse_action',
            field=models.CharField(choices=[('cancel', 'Cancel the job'), ('ask', 'Request more, cancel beyond a grace')], max_length=10, null=True),
        ),
        migrations.AlterField(
            model_name='job',
            name='status',
            field=models.CharField(choices=[('pending', 'Waiting'), ('uploading', 'Uploading'), ('queued', 'Queued'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=20),
        ),
        migrations.AlterField(
            model_name='organization',
            name='default_hardware',
            field=models.CharField(blank=True, db_default='', default='', help_text="The hardware profile of jobs at that provider that name none. Empty: the provider's default.", max_length=40),
        ),
        migrations.AlterField(
            model_name='organization',
            name='default_provider',
            field=models.CharField(blank=True, db_default='', default='', help_text='The provider of jobs that name none. Empty: local.', max_length=40),
        ),
        migrations.AlterField(
            model_name='organization',
            name='max_running',
            field=models.PositiveIntegerField(blank=True, help_text='How many of its jobs can run at once. Empty: the general limit.', null=True),
        ),
        migrations.AlterField(
            model_name='organization',
            name='second_factor_required',
            field=models.BooleanField(db_default=False, default=False, help_text='Members without a second factor must set one up first.'),
        ),
        migrations.AlterField(
            model_name='organization',
            name='time_zone',
            field=models.CharField(db_default='UTC', default='UTC', help_text='Days and months of costs and budgets follow this time zone.', max_length=60, validators=[jobs.models.organization.validate_time_zone]),
        ),
        migrations.AlterField(
            model_name='providerconfig',
            name='cost_per_second',
            field=models.JSONField(blank=True, default=dict, help_text='US dollars per second, by hardware profile.'),
        ),
        migrations.AlterField(
            model_name='providerconfig',
            name='discovery_organization',
            field=models.ForeignKey(blank=True, help_text='Owns the jobs that are discovered at the provider.', null=True, on_delete=django.db.models.deletion.SET_NULL, to='jobs.organization'),
        ),
        migrations.AlterField(
            model_name='providerconfig',
            name='model_version',
            field=models.CharField(blank=True, help_text='The model to run, with or without a version.', max_length=200),
        ),
        migrations.AlterField(
            model_name='providerconfig',
            name='seconds_per_step',
            field=models.FloatField(default=1.0, help_text='The shortest time of a step at batch size 1, in seconds. Estimates multiply it by batch size and accumulation, until five similar runs have been measured. 0: not known.', validators=[django.core.validators.MinValueValidator(0.0)]),
        ),
        migrations.AlterField(
            model_name='providerconfig',
            name='silence_minutes',
            field=models.PositiveIntegerField(default=15, help_text='With a webhook address: after so many minutes without a webhook, a job is refreshed. 0: never.'),
        ),
        migrations.AlterField(
            model_name='providerconfig',
            name='webhook_networks',
            field=models.TextField(blank=True, help_text='Networks that can deliver webhooks, one per line.'),
        ),
    ]
