"""The tables as they are after the migrations that it replaces, for an empty database; CONTRIBUTING.md has more of it."""

import cloudtrain_site.names
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.create_models import CreateModels
from cloudtrain_site.database.online_indexes import DropIndexesOnline


def add_rules(apps, schema_editor):
    """Two rules to start with, so that the first start already holds what is dear or unknown."""
    rules = apps.get_model("approvals", "ApprovalRule").objects
    rules.create(name="first_job", first_job=True, priority=10, exempt_roles=["lead", "admin"])
    rules.create(name="cost_exceeds", cost_exceeds=Decimal(50), priority=20)


class Migration(migrations.Migration):

    replaces = [
        ('approvals', '0001_initial'),
        ('approvals', '0002_first_rules'),
        ('approvals', '0003_more_criteria'),
        ('approvals', '0004_decisions'),
        ('approvals', '0005_notices'),
        ('approvals', '0006_list_order'),
        ('approvals', '0007_decided_index'),
        ('approvals', '0008_seal_terms'),
        ('approvals', '0009_every_rule_counts'),
        ('approvals', '0010_fuse'),
        ('approvals', '0011_notices_of_the_site'),
        ('approvals', '0012_raises'),
        ('approvals', '0013_dashboard_source'),
        ('approvals', '0014_plain_texts'),
        ('approvals', '0015_approved_in_organization'),
        ('approvals', '0016_request_indexes'),
        ('approvals', '0017_kept_from_index'),
        ('approvals', '0018_requirement_by_role'),
        ('approvals', '0019_fewer_indexes'),
    ]

    initial = True

    # Django adds what the replaced ones depend on; named here, they would be undone with these when one goes back.
    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('auth', '__first__'),
        ('notices', '0001_notices'),
    ]

    operations = [
        CreateModels(
            models=[
                migrations.CreateModel(
                    name='ApprovalRule',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('name', models.CharField(max_length=100, validators=[cloudtrain_site.names.readable_name])),
                        ('enabled', models.BooleanField(default=True, help_text='A rule that is not enabled holds no jobs.')),
                        ('priority', models.IntegerField(default=100, help_text='Orders the reasons of a held job, the lowest number first. Every rule that matches counts.')),
                        ('cost_exceeds', models.DecimalField(blank=True, decimal_places=4, help_text='Holds jobs with a higher estimated cost in US dollars, and jobs with an unknown cost.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(0)])),
                        ('first_job', models.BooleanField(default=False, help_text='Holds all jobs of a user until one of them has been submitted to a provider.')),
                        ('exempt_roles', models.JSONField(blank=True, default=list, help_text='The rule does not hold jobs of submitters with these roles, e.g. ["lead", "admin"].')),
                        ('expires_after_hours', models.PositiveIntegerField(default=24, help_text='After so many hours a pending request expires and its job is cancelled. An approval covers identical retries for the same time. If several rules hold a job, the shortest time counts.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(8760)])),
                        ('organization', models.ForeignKey(blank=True, help_text='The rule holds jobs of this organization. Empty: of all organizations.', null=True, on_delete=django.db.models.deletion.CASCADE, to='jobs.organization')),
                        ('approvals_needed', models.PositiveSmallIntegerField(default=1, help_text='How many reviewers must approve a job.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(10)])),
                        ('config_name', models.CharField(blank=True, help_text='Holds jobs whose config has this name, e.g. *full-finetune*. This is no protection: submitters choose the name.', max_length=200)),
                        ('hardware', models.CharField(blank=True, help_text='Holds jobs on hardware with this name, e.g. gpu-a100*.', max_length=200)),
                        ('jobs_in_day_exceed', models.PositiveIntegerField(blank=True, help_text='Holds further jobs of a user after this many in 24 hours, counted over all organizations.', null=True, verbose_name='jobs of a user in 24 hours above')),
                        ('provider', models.CharField(blank=True, help_text='Holds jobs for this provider.', max_length=40)),
                        ('reviewer_group', models.ForeignKey(blank=True, help_text="If a group is chosen, only its members who are in the job's organization can decide.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='auth.group')),
                        ('reviewer_role', models.CharField(choices=[('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], default='lead', help_text="Members of the job's organization with this role or a higher one can decide.", max_length=20)),
                        ('role_at_most', models.CharField(blank=True, choices=[('viewer', 'Viewer'), ('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], help_text='Holds jobs of submitters with this role in the organization or a lower one.', max_length=20)),
                        ('self_approval', models.BooleanField(default=False, help_text='Reviewers can decide about their own jobs, if all rules that hold the job allow it.')),
                        ('fuse_action', models.CharField(blank=True, choices=[('cancel', 'Cancel the job'), ('ask', 'Request more, cancel beyond a grace')], db_default='', default='', help_text="What happens when a job reaches its cost limit. Empty: the submitter's choice, or else the site's default. If several rules hold a job, the strictest counts.", max_length=10, verbose_name='when the limit is reached')),
                        ('fuse_grace_percent', models.PositiveSmallIntegerField(blank=True, help_text="How far beyond its limit a job continues while more is requested, in percent. Empty: the site's default.", null=True, validators=[django.core.validators.MaxValueValidator(100)], verbose_name='grace, in percent')),
                        ('max_cost_usd', models.DecimalField(blank=True, decimal_places=4, help_text='The highest cost of each job that the rule holds, in US dollars. If other rules, the submitter or a reviewer set a limit too, the lowest counts.', max_digits=12, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0.01')), django.core.validators.MaxValueValidator(Decimal('99999999'))], verbose_name='stop at, in US dollars')),
                    ],
                    options={
                        'ordering': ['priority', 'id'],
                        'constraints': [models.UniqueConstraint(condition=models.Q(('organization__isnull', True)), fields=('name',), name='one_general_rule_a_name', violation_error_message='There is a rule of this name.'), models.UniqueConstraint(fields=('organization', 'name'), name='one_rule_a_name', violation_error_message='There is a rule of this name in the organization.'), models.CheckConstraint(condition=models.Q(('organization__isnull', False), ('cost_exceeds__isnull', False), ('first_job', True), models.Q(('provider', ''), _negated=True), models.Q(('hardware', ''), _negated=True), models.Q(('config_name', ''), _negated=True), models.Q(('role_at_most', ''), _negated=True), ('jobs_in_day_exceed__isnull', False), _connector='OR'), name='rule_has_a_criterion', violation_error_message='Set at least one criterion: a rule without any would hold every job.'), models.CheckConstraint(condition=models.Q(('max_cost_usd__isnull', True), ('max_cost_usd__gt', 0), _connector='OR'), name='rule_limit_is_an_amount'), models.CheckConstraint(condition=models.Q(('fuse_grace_percent__isnull', True), ('fuse_grace_percent__lte', 100), _connector='OR'), name='rule_grace_percent')],
                    },
                ),
                migrations.CreateModel(
                    name='ApprovalRequest',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('rule_name', models.CharField(max_length=100)),
                        ('reason', models.TextField()),
                        ('status', models.CharField(choices=[('pending', 'Pending'), ('approved', 'Approved'), ('rejected', 'Rejected'), ('expired', 'Expired'), ('cancelled', 'Cancelled')], default='pending', max_length=20)),
                        ('requested_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('expires_at', models.DateTimeField()),
                        ('reviewed_by', models.CharField(blank=True, max_length=150)),
                        ('reviewed_at', models.DateTimeField(null=True)),
                        ('review_notes', models.TextField(blank=True)),
                        ('config_digest', models.CharField(max_length=64)),
                        ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='approval_requests', to='jobs.job')),
                        ('organization', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='jobs.organization')),
                        ('requested_by', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('bypassed', models.BooleanField(default=False)),
                        ('kept_from', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='approvals.approvalrequest')),
                        ('terms', models.JSONField(default=dict)),
                        ('is_decided', models.GeneratedField(db_persist=True, expression=models.ExpressionWrapper(models.Q(('reviewed_at__isnull', False)), output_field=models.BooleanField()), output_field=models.BooleanField())),
                        ('up_to_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                        ('raise_to_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('status', 'pending')), fields=['expires_at'], name='request_deadline'), models.Index(fields=['organization', '-id'], name='request_by_organization'), models.Index(condition=models.Q(('status', 'pending')), fields=['organization', 'expires_at'], name='request_desk'), models.Index(fields=['is_decided', 'expires_at', '-id'], name='request_list'), models.Index(condition=models.Q(('reviewed_at__isnull', False)), fields=['-reviewed_at', '-id'], name='request_decided'), models.Index(condition=models.Q(('reviewed_at__isnull', False)), fields=['organization', '-reviewed_at', '-id'], name='request_decided_in'), models.Index(fields=['requested_by', 'organization', 'status', '-id'], name='request_of_person'), models.Index(condition=models.Q(('kept_from__isnull', False)), fields=['kept_from'], name='request_by_kept_from')],
                        'constraints': [models.UniqueConstraint(condition=models.Q(('status', 'pending')), fields=('job',), name='one_pending_request_a_job'), models.CheckConstraint(condition=models.Q(models.Q(('reviewed_at__isnull', True), ('status', 'pending')), models.Q(models.Q(('status', 'pending'), _negated=True), ('reviewed_at__isnull', False)), _connector='OR'), name='request_reviewed_when_decided')],
                    },
                ),
                migrations.CreateModel(
                    name='Requirement',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('position', models.PositiveSmallIntegerField()),
                        ('rule_name', models.CharField(max_length=100)),
                        ('reason', models.TextField()),
                        ('reviewer_role', models.CharField(blank=True, max_length=20)),
                        ('approvals_needed', models.PositiveSmallIntegerField()),
                        ('approvals_given', models.PositiveSmallIntegerField(default=0)),
                        ('self_approval', models.BooleanField()),
                        ('expires_after_hours', models.PositiveIntegerField()),
                        ('request', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='requirements', to='approvals.approvalrequest')),
                        ('reviewer_group', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='auth.group')),
                        ('rule', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='approvals.approvalrule')),
                        ('max_cost_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                    ],
                    options={
                        'ordering': ['position'],
                        'constraints': [models.UniqueConstraint(fields=('request', 'position'), name='one_requirement_a_position'), models.CheckConstraint(condition=models.Q(('approvals_given__lte', models.F('approvals_needed'))), name='no_approval_too_many')],
                        'indexes': [models.Index(fields=['reviewer_role', 'request'], name='requirement_by_role')],
                    },
                ),
                migrations.CreateModel(
                    name='Decision',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('name', models.CharField(max_length=150)),
                        ('verdict', models.CharField(choices=[('approve', 'Approve'), ('reject', 'Reject')], max_length=20)),
                        ('reason', models.TextField(blank=True)),
                        ('bypass', models.BooleanField(default=False)),
                        ('source', models.CharField(choices=[('api', 'Api'), ('dashboard', 'Dashboard'), ('admin', 'Admin'), ('webhook', 'Webhook'), ('poll', 'Poll'), ('loop', 'Loop'), ('command', 'Command'), ('dispatcher', 'Dispatcher')], max_length=20)),
                        ('correlation_id', models.CharField(max_length=128)),
                        ('at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('request', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='decisions', to='approvals.approvalrequest')),
                        ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('counted_for', models.ManyToManyField(related_name='+', to='approvals.requirement')),
                        ('up_to_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                    ],
                    options={
                        'ordering': ['id'],
                        'constraints': [models.UniqueConstraint(fields=('request', 'user'), name='one_decision_a_person')],
                    },
                ),
            ],
        ),
        migrations.RunPython(add_rules, migrations.RunPython.noop),
        DropIndexesOnline(
            'approvals_approvalrequest_job_id_76606fd7_like',
        ),
    ]
