"""The tables as they are after the migrations that it replaces, for an empty database; CONTRIBUTING.md has more of it."""

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.text
import django.utils.timezone
import queueing.models
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.create_models import CreateModels
from cloudtrain_site.database.online_indexes import DropIndexesOnline


def add_state(apps, schema_editor):
    """The one row that the whole queue shares."""
    apps.get_model("queueing", "QueueState").objects.create(pk=1)


class Migration(migrations.Migration):

    replaces = [
        ('queueing', '0001_initial'),
        ('queueing', '0002_queue_state'),
        ('queueing', '0003_turns_and_lanes'),
        ('queueing', '0004_turns_of_old_entries'),
        ('queueing', '0005_indexes_for_both_databases'),
        ('queueing', '0006_staging'),
        ('queueing', '0007_budgets'),
        ('queueing', '0008_needs_of_waiting_entries'),
        ('queueing', '0009_limits_on_the_audit_record'),
        ('queueing', '0010_plain_texts'),
        ('queueing', '0011_fewer_indexes'),
    ]

    initial = True

    # Django adds what the replaced ones depend on; named here, they would be undone with these when one goes back.
    dependencies = [
        ('auth', '__first__'),
    ]

    operations = [
        CreateModels(
            models=[
                migrations.CreateModel(
                    name='QueueState',
                    fields=[
                        ('id', models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                        ('max_running', models.PositiveIntegerField(default=5, verbose_name='running at once')),
                        ('max_running_per_user', models.PositiveIntegerField(default=2, verbose_name='running at once for a user')),
                        ('max_running_per_organization', models.PositiveIntegerField(default=10, verbose_name='running at once for an organization')),
                        ('paused', models.BooleanField(default=False, help_text='No jobs start. Running jobs continue.')),
                        ('pass_requested_at', models.DateTimeField(editable=False, null=True)),
                        ('told_depth', models.PositiveIntegerField(default=0, editable=False)),
                        ('told_running', models.PositiveIntegerField(default=0, editable=False)),
                        ('told_at', models.DateTimeField(editable=False, null=True)),
                        ('fair_share', models.BooleanField(default=False, help_text='The organization with the fewest running jobs for its share goes first.')),
                    ],
                    options={
                        'verbose_name': 'limits',
                        'verbose_name_plural': 'limits',
                        'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='one_queue_state')],
                    },
                ),
                migrations.CreateModel(
                    name='QueueEntry',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('status', models.CharField(choices=[('blocked', 'Held'), ('pending', 'Waiting'), ('dispatching', 'Starting'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=20)),
                        ('priority', models.PositiveSmallIntegerField(default=0)),
                        ('priority_override', models.PositiveSmallIntegerField(null=True, validators=[django.core.validators.MaxValueValidator(50)])),
                        ('effective_priority', models.GeneratedField(db_persist=True, expression=django.db.models.functions.comparison.Coalesce(models.F('priority_override'), models.F('priority')), output_field=models.PositiveSmallIntegerField())),
                        ('not_before', models.DateTimeField(null=True)),
                        ('claim_token', models.CharField(max_length=32, null=True, unique=True)),
                        ('lease_until', models.DateTimeField(null=True)),
                        ('claimed_on', models.CharField(blank=True, max_length=255)),
                        ('attempts', models.PositiveSmallIntegerField(default=0)),
                        ('last_error', models.TextField(blank=True)),
                        ('enqueued_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('dispatched_at', models.DateTimeField(null=True)),
                        ('finished_at', models.DateTimeField(null=True)),
                        ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='queue_entries', to='jobs.job')),
                        ('organization', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='jobs.organization')),
                        ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('lane', models.GeneratedField(db_persist=True, expression=django.db.models.functions.text.Concat(django.db.models.functions.comparison.Cast('organization_id', models.CharField()), models.Value(':'), django.db.models.functions.comparison.Cast('user_id', models.CharField()), models.Value(':'), 'provider', output_field=models.CharField(max_length=100)), output_field=models.CharField(max_length=100))),
                        ('turn', models.FloatField()),
                        ('unconfirmed_at', models.DateTimeField(null=True)),
                        ('staging_since', models.DateTimeField(null=True)),
                        ('needs_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                    ],
                    options={
                        'verbose_name_plural': 'queue entries',
                        'indexes': [models.Index(condition=models.Q(('status', 'dispatching')), fields=['lease_until'], name='entry_lease'), models.Index(condition=models.Q(('finished_at__isnull', False)), fields=['finished_at'], name='entry_finished'), models.Index(condition=models.Q(('status', 'pending')), fields=['lane', 'turn', 'id'], name='entry_lane'), models.Index(condition=models.Q(('dispatched_at__isnull', False)), fields=['dispatched_at'], name='entry_dispatched'), models.Index(fields=['status', 'turn', 'id'], name='entry_by_status'), models.Index(fields=['organization', 'status', 'turn'], name='entry_of_organization'), models.Index(condition=models.Q(('claim_token__isnull', False)), fields=['user', 'organization', 'provider'], name='entry_holds_slot'), models.Index(condition=models.Q(('staging_since__isnull', False)), fields=['lease_until'], name='entry_staging'), models.Index(condition=models.Q(('status', 'pending')), fields=['needs_usd'], name='entry_needs')],
                        'constraints': [models.UniqueConstraint(condition=models.Q(('status__in', ('blocked', 'pending', 'dispatching', 'running'))), fields=('job',), name='one_live_entry_a_job'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'dispatching'), _negated=True), models.Q(('claim_token__isnull', False), ('lease_until__isnull', False)), _connector='OR'), name='entry_claimed_with_lease'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'running'), _negated=True), ('claim_token__isnull', False), _connector='OR'), name='entry_slot_claimed')],
                    },
                ),
                migrations.CreateModel(
                    name='ProviderLimit',
                    fields=[
                        ('provider', models.CharField(max_length=40, primary_key=True, serialize=False)),
                        ('max_running', models.PositiveIntegerField(blank=True, null=True, verbose_name='running at once')),
                        ('drained', models.BooleanField(default=False, help_text='No new jobs start there. Running jobs continue.')),
                    ],
                    options={
                        'ordering': ['provider'],
                    },
                ),
                migrations.CreateModel(
                    name='Budget',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('scope', models.CharField(choices=[('site', 'Site'), ('organization', 'Organization'), ('user', 'User')], max_length=12)),
                        ('amount', models.DecimalField(decimal_places=2, max_digits=11, validators=[django.core.validators.MinValueValidator(Decimal('0'))])),
                        ('period', models.CharField(choices=[('month', 'Month'), ('day', 'Day'), ('lifetime', 'Lifetime')], default='month', max_length=8)),
                        ('site_zone', models.CharField(blank=True, max_length=60)),
                        ('thresholds', models.JSONField(default=queueing.models.default_thresholds)),
                        ('action', models.CharField(choices=[('hold', 'Let running jobs continue'), ('finish', 'Let running jobs continue and warn their submitters'), ('cancel', 'Cancel running jobs')], default='hold', max_length=6)),
                        ('version', models.PositiveIntegerField(default=1)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('seen_period', models.DateField(editable=False, null=True)),
                        ('organization', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to='jobs.organization')),
                        ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'ordering': ['scope', 'organization__name', 'user__username', 'period'],
                        'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('organization__isnull', True), ('scope', 'site'), ('user__isnull', True)), models.Q(('organization__isnull', False), ('scope', 'organization'), ('user__isnull', True)), models.Q(('organization__isnull', False), ('scope', 'user'), ('user__isnull', False)), _connector='OR'), name='budget_scope_named'), models.CheckConstraint(condition=models.Q(('amount__gte', 0)), name='budget_not_negative'), models.UniqueConstraint(condition=models.Q(('scope', 'site')), fields=('period',), name='one_site_budget_a_period'), models.UniqueConstraint(condition=models.Q(('scope', 'organization')), fields=('organization', 'period'), name='one_organization_budget_a_period'), models.UniqueConstraint(condition=models.Q(('scope', 'user')), fields=('organization', 'user', 'period'), name='one_user_budget_a_period')],
                    },
                ),
                migrations.CreateModel(
                    name='BudgetNotice',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('period_start', models.DateField()),
                        ('threshold', models.PositiveSmallIntegerField(null=True)),
                        ('spent', models.DecimalField(decimal_places=6, max_digits=14)),
                        ('amount', models.DecimalField(decimal_places=2, max_digits=11)),
                        ('at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('budget', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='queueing.budget')),
                    ],
                    options={
                        'ordering': ['-id'],
                        'constraints': [models.UniqueConstraint(models.F('budget'), models.F('period_start'), django.db.models.functions.comparison.Coalesce('threshold', 0), name='each_threshold_once')],
                    },
                ),
            ],
        ),
        migrations.RunPython(add_state, migrations.RunPython.noop),
        DropIndexesOnline(
            'queueing_queueentry_claim_token_889f7505_like',
            'queueing_queueentry_job_id_68c814ed_like',
        ),
    ]
