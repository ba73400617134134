"""Plainer labels and help texts. No table changes."""

import django.core.validators
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0013_dashboard_source'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('jobs', '0054_plain_texts'),
    ]

    operations = [
        migrations.AlterField(
            model_name='approvalrule',
            name='approvals_needed',
            field=models.PositiveSmallIntegerField(default=1, help_text='How many reviewers must approve a job.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(10)]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='config_name',
            field=models.CharField(blank=True, help_text='Holds jobs whose config has this name, e.g. *full-finetune*. This is no protection: submitters choose the name.', max_length=200),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='cost_exceeds',
            field=models.DecimalField(blank=True, decimal_places=4, help_text='Holds jobs with a higher estimated cost in US dollars, and jobs with an unknown cost.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(0)]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='enabled',
            field=models.BooleanField(default=True, help_text='A rule that is not enabled holds no jobs.'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='exempt_roles',
            field=models.JSONField(blank=True, default=list, help_text='The rule does not hold jobs of submitters with these roles, e.g. ["lead", "admin"].'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='expires_after_hours',
            field=models.PositiveIntegerField(default=24, help_text='After so many hours a pending request expires and its job is cancelled. An approval covers identical retries for the same time. If several rules hold a job, the shortest time counts.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(8760)]),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='first_job',
            field=models.BooleanField(default=False, help_text='Holds all jobs of a user until one of them has been submitted to a provider.'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='fuse_action',
            field=models.CharField(blank=True, choices=[('cancel', 'Cancel the job'), ('ask', 'Request more, cancel beyond a grace')], db_default='', default='', help_text="What happens when a job reaches its cost limit. Empty: the submitter's choice, or else the site's default. If several rules hold a job, the strictest counts.", max_length=10, verbose_name='when the limit is reached'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='fuse_grace_percent',
            field=models.PositiveSmallIntegerField(blank=True, help_text="How far beyond its limit a job continues while more is requested, in percent. Empty: the site's default.", null=True, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='grace, in percent'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='hardware',
            field=models.CharField(blank=True, help_text='Holds jobs on hardware with this name, e.g. gpu-a100*.', max_length=200),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='jobs_in_day_exceed',
            field=models.PositiveIntegerField(blank=True, help_text='Holds further jobs of a user after this many in 24 hours, counted over all organizations.', null=True, verbose_name='jobs of a user in 24 hours above'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='max_cost_usd',
            field=models.DecimalField(blank=True, decimal_places=4, help_text='The highest cost of each job that the rule holds, in US dollars. If other rules, the submitter or a reviewer set a limit too, the lowest counts.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0.01')), django.core.validators.MaxValueValidator(Decimal('99999999'))], verbose_name='stop at, in US dollars'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='organization',
            field=models.ForeignKey(blank=True, help_text='The rule holds jobs of this organization. Empty: of all organizations.', null=True, on_delete=django.db.models.deletion.CASCADE, to='jobs.organization'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='reviewer_group',
            field=models.ForeignKey(blank=True, help_text="If a group is chosen, only its members who are in the job's organization can decide.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='auth.group'),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='reviewer_role',
            field=models.CharField(choices=[('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], default='lead', help_text="Members of the job's organization with this role or a higher one can decide.", max_length=20),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='role_at_most',
            field=models.CharField(blank=True, choices=[('viewer', 'Viewer'), ('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], help_text='Holds jobs of submitters with this role in the organization or a lower one.', max_length=20),
        ),
        migrations.AlterField(
            model_name='approvalrule',
            name='self_approval',
            field=models.BooleanField(default=False, help_text='Reviewers can decide about their own jobs, if all rules that hold the job allow it.'),
        ),
    ]
