"""The tables as they are after the migrations that it replaces, for an empty database; CONTRIBUTING.md has more of it."""

import cloudtrain_site.names
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import jobs.identifiers
import jobs.models.fields
import jobs.models.organization
import jobs.models.tag
import jobs.validators
from datetime import date
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.audit.triggers import append_only
from cloudtrain_site.database.create_models import CreateModels

# Replicate's, from the price page of that day.
PRICES_AS_OF = date(2026, 11, 22)
RATES = {"h100": 0.001525, "l40s": 0.000975}


def add_providers(apps, schema_editor):
    """This machine, which costs nothing until the operator says otherwise, and Replicate, which runs nothing without a token."""
    prices = {f"{gpu}-x{count}": round(rate * count, 6) for gpu, rate in RATES.items() for count in (2, 4, 8)}
    providers = apps.get_model("jobs", "ProviderConfig").objects
    providers.create(name="local", default_hardware="cpu", cost_per_second={"cpu": 0}, seconds_per_step=0.3)
    providers.create(
        name="replicate",
        default_hardware="h100",
        cost_per_second={**RATES, **prices},
        prices_as_of=PRICES_AS_OF,
        seconds_per_step=1.0,
    )


class Migration(migrations.Migration):

    replaces = [
        ('jobs', '0001_initial'),
        ('jobs', '0002_local_provider'),
        ('jobs', '0003_replicate'),
        ('jobs', '0004_replicate_provider'),
        ('jobs', '0005_dataset_uploads'),
        ('jobs', '0006_indexes_of_the_list'),
        ('jobs', '0007_refresh_together'),
        ('jobs', '0008_metrics_index'),
        ('jobs', '0009_sealed_secrets'),
        ('jobs', '0010_seal_secrets'),
        ('jobs', '0011_plain_webhook_address'),
        ('jobs', '0012_keep_the_log_until_applied'),
        ('jobs', '0013_orders_of_the_list'),
        ('jobs', '0014_find_deliveries_by_index'),
        ('jobs', '0015_count_and_retries'),
        ('jobs', '0016_duration_and_name_key'),
        ('jobs', '0017_fill_duration_and_name_key'),
        ('jobs', '0018_orders_by_column'),
        ('jobs', '0019_drop_orders_by_expression'),
        ('jobs', '0020_open_jobs_of_a_person'),
        ('jobs', '0021_estimates_by_kind'),
        ('jobs', '0022_paces_of_old_runs'),
        ('jobs', '0023_fold_name_keys'),
        ('jobs', '0024_count_searches_in_the_index'),
        ('jobs', '0025_cluster_looks'),
        ('jobs', '0026_provider_waiting_reason'),
        ('jobs', '0027_costs_that_are_not_known'),
        ('jobs', '0028_unknown_costs_of_ended_jobs'),
        ('jobs', '0029_seconds_of_a_step_of_batch_1'),
        ('jobs', '0030_kinds_with_all_that_decides_a_step'),
        ('jobs', '0031_unrunnable_profiles'),
        ('jobs', '0032_second_factor_required'),
        ('jobs', '0033_time_zone_of_organizations'),
        ('jobs', '0034_closing_and_invitations'),
        ('jobs', '0035_ledger'),
        ('jobs', '0036_ledger_of_old_jobs'),
        ('jobs', '0037_service_accounts'),
        ('jobs', '0038_fetched_outputs'),
        ('jobs', '0039_fuse'),
        ('jobs', '0040_error_line'),
        ('jobs', '0041_runs'),
        ('jobs', '0042_stored_outputs'),
        ('jobs', '0043_tags'),
        ('jobs', '0044_fuse_actions'),
        ('jobs', '0045_kept_curves'),
        ('jobs', '0046_reports_from_indexes'),
    ]

    initial = True

    # Django adds what the replaced ones depend on; named here, they would be undone with these when one goes back.
    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('auth', '__first__'),
    ]

    operations = [
        CreateModels(
            models=[
                migrations.CreateModel(
                    name='Organization',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('name', models.SlugField(max_length=100, unique=True)),
                        ('max_running', models.PositiveIntegerField(blank=True, help_text='How many of its jobs may run at once; empty: the general limit.', null=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('second_factor_required', models.BooleanField(db_default=False, default=False, help_text='Members without a second factor set one up before they do anything else.')),
                        ('time_zone', models.CharField(db_default='UTC', default='UTC', help_text='Its days and months begin and end there: costs and budgets go by them.', max_length=60, validators=[jobs.models.organization.validate_time_zone])),
                        ('closed_at', models.DateTimeField(editable=False, null=True)),
                        ('default_hardware', models.CharField(blank=True, db_default='', default='', help_text="Of a job at that provider that names none; empty: the provider's default.", max_length=40)),
                        ('default_provider', models.CharField(blank=True, db_default='', default='', help_text='Of a job that names none; empty: local.', max_length=40)),
                    ],
                    options={
                        'ordering': ['name'],
                    },
                ),
                migrations.CreateModel(
                    name='DatasetUpload',
                    fields=[
                        ('id', models.CharField(default=jobs.identifiers.new_job_id, editable=False, max_length=26, primary_key=True, serialize=False)),
                        ('name', models.CharField(max_length=200)),
                        ('kind', models.CharField(choices=[('zip', 'zip'), ('tar', 'tar'), ('tar.gz', 'tar.gz')], max_length=10)),
                        ('size', models.PositiveBigIntegerField()),
                        ('sha256', models.CharField(max_length=64)),
                        ('files', models.PositiveIntegerField()),
                        ('unpacked_size', models.PositiveBigIntegerField()),
                        ('stored_on', models.CharField(max_length=255)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('last_used_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('removed_at', models.DateTimeField(null=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='uploads', to='jobs.organization')),
                        ('uploaded_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='uploads', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'ordering': ['-id'],
                        'indexes': [models.Index(fields=['uploaded_by', '-id'], name='upload_by_user'), models.Index(condition=models.Q(('removed_at', None)), fields=['last_used_at'], name='upload_unused')],
                    },
                ),
                migrations.CreateModel(
                    name='Job',
                    fields=[
                        ('id', models.CharField(default=jobs.identifiers.new_job_id, editable=False, max_length=26, primary_key=True, serialize=False)),
                        ('correlation_id', models.CharField(db_index=True, max_length=128)),
                        ('provider', models.CharField(max_length=40)),
                        ('external_id', models.CharField(max_length=128, null=True)),
                        ('hardware_profile', models.CharField(blank=True, max_length=40)),
                        ('config_name', models.CharField(max_length=200, validators=[cloudtrain_site.names.plain_name])),
                        ('config', models.JSONField(default=dict)),
                        ('dataloader_config', models.JSONField(default=list)),
                        ('tracker_run_name', models.CharField(blank=True, max_length=200)),
                        ('webhook_url', models.CharField(blank=True, max_length=500, validators=[django.core.validators.URLValidator(['http', 'https'])])),
                        ('attempt', models.PositiveIntegerField(default=1)),
                        ('status', models.CharField(choices=[('pending', 'Pending'), ('uploading', 'Uploading'), ('queued', 'Queued'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='pending', max_length=20)),
                        ('error_message', models.TextField(blank=True)),
                        ('output_url', models.TextField(blank=True)),
                        ('submission_marker', models.CharField(max_length=40, null=True, unique=True)),
                        ('submission_started_at', models.DateTimeField(null=True)),
                        ('cancel_requested_at', models.DateTimeField(null=True)),
                        ('cancel_requested_by', models.CharField(blank=True, max_length=150)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('queued_at', models.DateTimeField(null=True)),
                        ('started_at', models.DateTimeField(null=True)),
                        ('completed_at', models.DateTimeField(null=True)),
                        ('deleted_at', models.DateTimeField(null=True)),
                        ('stage', models.CharField(max_length=40, null=True)),
                        ('progress', models.FloatField(null=True)),
                        ('step', models.PositiveBigIntegerField(null=True)),
                        ('total_steps', models.PositiveBigIntegerField(null=True)),
                        ('last_log', models.CharField(max_length=80, null=True)),
                        ('progress_told_at', models.DateTimeField(null=True)),
                        ('last_synced_at', models.DateTimeField(null=True)),
                        ('sync_error', models.TextField(blank=True)),
                        ('estimated_cost_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                        ('cost_usd', models.DecimalField(decimal_places=4, default=Decimal('0'), max_digits=12)),
                        ('metadata', models.JSONField(default=dict)),
                        ('retry_of', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='retries', to='jobs.job')),
                        ('submitted_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='jobs.organization')),
                        ('log_due_at', models.DateTimeField(null=True)),
                        ('log_fetched_at', models.DateTimeField(null=True)),
                        ('log_size', models.PositiveBigIntegerField(default=0)),
                        ('dataset', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='jobs.datasetupload')),
                        ('sealed', models.TextField(blank=True, editable=False)),
                        ('duration_ms', models.PositiveBigIntegerField(editable=False, null=True)),
                        ('name_key', jobs.models.fields.NameKeyField(editable=False, max_length=200, null=True)),
                        ('estimate_source', models.CharField(max_length=300, null=True)),
                        ('estimated_cost_low_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                        ('seconds_per_step', models.FloatField(editable=False, null=True)),
                        ('training_kind', models.CharField(editable=False, max_length=250, null=True)),
                        ('provider_waiting_reason', models.TextField(null=True)),
                        ('cost_doubt', models.CharField(editable=False, max_length=200, null=True)),
                        ('cost_warned_at', models.DateTimeField(editable=False, null=True)),
                        ('max_cost_usd', models.DecimalField(decimal_places=4, max_digits=12, null=True)),
                        ('error_line', models.CharField(editable=False, max_length=300, null=True)),
                        ('changes', models.JSONField(editable=False, null=True)),
                        ('checkpoint', models.CharField(max_length=255, null=True)),
                        ('checkpoint_of', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='resumed', to='jobs.job')),
                        ('parent', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='runs', to='jobs.job')),
                        ('root', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='tree', to='jobs.job')),
                        ('fuse_action', models.CharField(choices=[('cancel', 'cancel the job'), ('ask', 'ask for more, and cancel the job beyond a grace')], max_length=10, null=True)),
                        ('fuse_asked_at', models.DateTimeField(editable=False, null=True)),
                        ('fuse_grace_percent', models.PositiveSmallIntegerField(null=True)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('status__in', ('pending', 'uploading', 'queued', 'running'))), fields=['provider', 'id'], name='job_active'), models.Index(fields=['submitted_by', '-id'], name='job_by_submitter'), models.Index(condition=models.Q(('status', 'completed')), fields=['provider', 'hardware_profile', '-completed_at'], name='job_finished'), models.Index(condition=models.Q(('log_due_at__isnull', False)), fields=['log_due_at'], name='job_log_due'), models.Index(fields=['provider', '-id'], name='job_by_provider'), models.Index(fields=['-cost_usd', '-id'], name='job_by_cost'), models.Index(fields=['-status', '-id'], name='job_by_status'), models.Index(condition=models.Q(('completed_at__isnull', True)), fields=['started_at', '-id'], name='job_going'), models.Index(fields=['organization', '-id', 'deleted_at'], name='job_by_organization'), models.Index(condition=models.Q(('retry_of__isnull', False)), fields=['retry_of', '-id'], name='job_by_retry'), models.Index(condition=models.Q(('duration_ms__isnull', False)), fields=['-duration_ms', '-id'], name='job_by_duration_ms'), models.Index(condition=models.Q(('started_at__isnull', True)), fields=['started_at', '-id'], name='job_not_begun'), models.Index(condition=models.Q(('completed_at__isnull', True)), fields=['submitted_by'], name='job_open_by_submitter'), models.Index(condition=models.Q(('seconds_per_step__isnull', False)), fields=['provider', 'hardware_profile', 'training_kind', '-completed_at', 'seconds_per_step'], name='job_pace'), models.Index(fields=['name_key', 'id', 'organization', 'deleted_at'], name='job_by_name_key'), models.Index(condition=models.Q(('completed_at__isnull', False)), fields=['completed_at', 'organization', 'status', 'cost_usd', 'cost_doubt', 'started_at', 'created_at', 'submission_marker'], name='job_ended'), models.Index(condition=models.Q(('root__isnull', False)), fields=['root', 'id'], name='job_by_root'), models.Index(condition=models.Q(('parent__isnull', False)), fields=['parent'], name='job_by_parent'), models.Index(condition=models.Q(('checkpoint_of__isnull', False)), fields=['checkpoint_of'], name='job_by_source')],
                        'constraints': [models.UniqueConstraint(fields=('provider', 'external_id'), name='one_job_a_training'), models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'uploading', 'queued', 'running', 'completed', 'failed', 'cancelled'])), name='job_status_known'), models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', True), ('status__in', ('pending', 'uploading', 'queued', 'running'))), models.Q(('completed_at__isnull', False), ('status__in', ('completed', 'failed', 'cancelled'))), _connector='OR'), name='job_completed_at_when_ended')],
                    },
                ),
                migrations.CreateModel(
                    name='ProviderConfig',
                    fields=[
                        ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                        ('enabled', models.BooleanField(default=True)),
                        ('webhook_url', models.CharField(blank=True, max_length=500, validators=[django.core.validators.URLValidator(['http', 'https']), jobs.validators.holds_no_secret])),
                        ('webhook_networks', models.TextField(blank=True, help_text='Networks that may deliver webhooks, one a line.')),
                        ('signature_required', models.BooleanField(default=True)),
                        ('model_version', models.CharField(blank=True, help_text='Model, or model and version, to run.', max_length=200)),
                        ('default_hardware', models.CharField(blank=True, max_length=40)),
                        ('cost_per_second', models.JSONField(blank=True, default=dict, help_text='US dollars a second, by hardware profile.')),
                        ('seconds_per_step', models.FloatField(default=1.0, help_text='Seconds that a step of batch 1 takes at least. Estimates multiply them by batch and accumulation, until five runs of a kind tell; 0: not known.', validators=[django.core.validators.MinValueValidator(0.0)])),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('discovery_organization', models.ForeignKey(blank=True, help_text='Whose the jobs are that were made elsewhere.', null=True, on_delete=django.db.models.deletion.SET_NULL, to='jobs.organization')),
                        ('outage_failures', models.PositiveIntegerField(default=0, editable=False)),
                        ('outage_until', models.DateTimeField(editable=False, null=True)),
                        ('prices_as_of', models.DateField(blank=True, help_text='When the prices were last looked up.', null=True)),
                        ('silence_minutes', models.PositiveIntegerField(default=15, help_text='With a webhook address: a job not heard of for so long is asked about; 0: never.')),
                        ('webhooks_missed_at', models.DateTimeField(editable=False, null=True)),
                        ('refresh_until', models.DateTimeField(editable=False, null=True)),
                    ],
                    options={
                        'ordering': ['name'],
                    },
                ),
                migrations.CreateModel(
                    name='TrainingConfig',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('name', models.CharField(max_length=200, validators=[cloudtrain_site.names.plain_name])),
                        ('config', models.JSONField(default=dict)),
                        ('dataloader_config', models.JSONField(blank=True, default=list)),
                        ('updated_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='training_configs', to='jobs.organization')),
                        ('updated_by', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
                        ('sealed', models.TextField(blank=True, editable=False)),
                    ],
                    options={
                        'ordering': ['name'],
                        'constraints': [models.UniqueConstraint(fields=('organization', 'name'), name='one_config_a_name')],
                    },
                ),
                migrations.CreateModel(
                    name='IdempotencyKey',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('key', models.CharField(max_length=200)),
                        ('digest', models.CharField(max_length=64)),
                        ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='jobs.job')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('user', 'key'), name='one_job_a_key')],
                    },
                ),
                migrations.CreateModel(
                    name='JobEvent',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('subject', models.CharField(max_length=20)),
                        ('old', models.CharField(blank=True, max_length=20)),
                        ('new', models.CharField(max_length=20)),
                        ('actor', models.CharField(max_length=150)),
                        ('source', models.CharField(choices=[('api', 'Api'), ('admin', 'Admin'), ('webhook', 'Webhook'), ('poll', 'Poll'), ('loop', 'Loop'), ('command', 'Command'), ('dispatcher', 'Dispatcher')], max_length=20)),
                        ('reason', models.TextField(blank=True)),
                        ('correlation_id', models.CharField(db_index=True, max_length=128)),
                        ('at', models.DateTimeField()),
                        ('actor_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='jobs.job')),
                    ],
                    options={
                        'ordering': ['id'],
                        'indexes': [models.Index(fields=['job', 'id'], name='event_by_job')],
                    },
                ),
                migrations.CreateModel(
                    name='Membership',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('role', models.CharField(choices=[('viewer', 'Viewer'), ('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], default='researcher', max_length=20)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='jobs.organization')),
                        ('joined_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, null=True)),
                    ],
                    options={
                        'ordering': ['id'],
                        'constraints': [models.UniqueConstraint(fields=('user', 'organization'), name='one_membership_each')],
                    },
                ),
                migrations.CreateModel(
                    name='LogPiece',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('start', models.PositiveBigIntegerField()),
                        ('end', models.PositiveBigIntegerField()),
                        ('text', models.TextField()),
                        ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='log_pieces', to='jobs.job')),
                    ],
                    options={
                        'ordering': ['start'],
                        'constraints': [models.UniqueConstraint(fields=('job', 'start'), name='one_piece_a_place')],
                    },
                ),
                migrations.CreateModel(
                    name='WebhookDelivery',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('delivery_id', models.CharField(blank=True, max_length=200)),
                        ('received_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                        ('verdict', models.CharField(choices=[('accepted', 'Accepted'), ('unsigned', 'accepted unsigned'), ('forged', 'Forged'), ('stale', 'too old or too new'), ('foreign', 'from a network that may not deliver'), ('malformed', 'Malformed')], max_length=20)),
                        ('outcome', models.CharField(blank=True, max_length=200)),
                        ('repeats', models.PositiveIntegerField(default=0)),
                        ('sender', models.GenericIPAddressField(null=True)),
                        ('marker', models.CharField(blank=True, max_length=40)),
                        ('external_id', models.CharField(blank=True, db_index=True, max_length=128)),
                        ('payload', models.JSONField(null=True)),
                        ('job', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='webhook_deliveries', to='jobs.job')),
                        ('log', models.TextField(blank=True, editable=False)),
                    ],
                    options={
                        'verbose_name_plural': 'webhook deliveries',
                        'ordering': ['-id'],
                        'indexes': [models.Index(condition=models.Q(models.Q(('verdict', 'accepted'), ('verdict', 'unsigned'), _connector='OR'), ('outcome', '')), fields=['id'], name='delivery_open')],
                        'constraints': [models.UniqueConstraint(condition=models.Q(models.Q(('verdict', 'accepted'), ('verdict', 'unsigned'), _connector='OR'), models.Q(('delivery_id', ''), _negated=True)), fields=('provider', 'delivery_id'), name='one_delivery_an_id')],
                    },
                ),
                migrations.CreateModel(
                    name='DatasetCopy',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('sent_bytes', models.PositiveBigIntegerField(default=0)),
                        ('external_id', models.CharField(blank=True, max_length=200)),
                        ('address', models.CharField(blank=True, max_length=2000)),
                        ('expires_at', models.DateTimeField(null=True)),
                        ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('upload', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='copies', to='jobs.datasetupload')),
                    ],
                    options={
                        'verbose_name_plural': 'dataset copies',
                        'constraints': [models.UniqueConstraint(fields=('upload', 'provider'), name='one_copy_a_provider')],
                    },
                ),
                migrations.CreateModel(
                    name='ClusterLook',
                    fields=[
                        ('provider', models.CharField(max_length=40, primary_key=True, serialize=False)),
                        ('data', models.JSONField(null=True)),
                        ('seen_at', models.DateTimeField(null=True)),
                        ('error', models.TextField(blank=True)),
                        ('error_at', models.DateTimeField(null=True)),
                        ('looked_at', models.DateTimeField(null=True)),
                        ('look_until', models.DateTimeField(null=True)),
                        ('unrunnable', models.JSONField(default=dict)),
                    ],
                    options={
                        'ordering': ['provider'],
                    },
                ),
                migrations.CreateModel(
                    name='Invitation',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('email', models.EmailField(blank=True, max_length=254)),
                        ('role', models.CharField(choices=[('viewer', 'Viewer'), ('researcher', 'Researcher'), ('lead', 'Lead'), ('admin', 'Admin')], max_length=20)),
                        ('token_digest', models.CharField(max_length=64, unique=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('expires_at', models.DateTimeField()),
                        ('withdrawn_at', models.DateTimeField(null=True)),
                        ('accepted_at', models.DateTimeField(null=True)),
                        ('accepted_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('invited_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='jobs.organization')),
                    ],
                    options={
                        'ordering': ['-id'],
                        'constraints': [models.CheckConstraint(condition=models.Q(('accepted_at', None), ('withdrawn_at', None), _connector='OR'), name='invitation_ends_once')],
                    },
                ),
                migrations.CreateModel(
                    name='DatedPrice',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('hardware', models.CharField(blank=True, max_length=40)),
                        ('per_second', models.DecimalField(decimal_places=10, max_digits=16, null=True)),
                        ('valid_from', models.DateTimeField()),
                        ('priced_on', models.DateField(null=True)),
                        ('noted_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('by', models.CharField(blank=True, max_length=150)),
                        ('reason', models.CharField(blank=True, max_length=300)),
                    ],
                    options={
                        'ordering': ['provider', 'hardware', 'valid_from', 'id'],
                        'default_permissions': ('view',),
                        'indexes': [models.Index(fields=['provider', 'hardware', 'valid_from'], name='price_by_date')],
                    },
                ),
                migrations.CreateModel(
                    name='DayCost',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('hardware', models.CharField(blank=True, max_length=40)),
                        ('day', models.DateField()),
                        ('config_name', models.CharField(max_length=200)),
                        ('spent', models.DecimalField(decimal_places=6, max_digits=14)),
                        ('is_unpriced', models.BooleanField(default=False)),
                        ('job', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='jobs.job')),
                        ('organization', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='jobs.organization')),
                        ('user', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'default_permissions': (),
                        'indexes': [models.Index(fields=['organization', 'day', 'user', 'provider', 'hardware', 'config_name', 'spent', 'is_unpriced'], name='day_cost_by_organization'), models.Index(fields=['day', 'organization', 'user', 'provider', 'hardware', 'spent', 'is_unpriced', 'job'], name='day_cost_by_day_and_job')],
                        'constraints': [models.UniqueConstraint(fields=('job', 'day'), name='one_cost_a_job_and_day')],
                    },
                ),
                migrations.CreateModel(
                    name='JobAccount',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('hardware', models.CharField(blank=True, max_length=40)),
                        ('spent', models.DecimalField(decimal_places=6, default=Decimal('0'), max_digits=14)),
                        ('held', models.DecimalField(decimal_places=6, default=Decimal('0'), max_digits=14)),
                        ('entries', models.PositiveIntegerField(default=0)),
                        ('counted_until', models.DateTimeField(null=True)),
                        ('settled_at', models.DateTimeField(null=True)),
                        ('is_unpriced', models.BooleanField(default=False)),
                        ('job', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='account', to='jobs.job')),
                        ('organization', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='jobs.organization')),
                        ('user', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'default_permissions': ('view',),
                        'indexes': [models.Index(condition=models.Q(('held__gt', 0)), fields=['organization', 'user', 'held'], name='account_holding')],
                    },
                ),
                migrations.CreateModel(
                    name='LedgerEntry',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('provider', models.CharField(max_length=40)),
                        ('hardware', models.CharField(blank=True, max_length=40)),
                        ('sequence', models.PositiveIntegerField()),
                        ('kind', models.CharField(choices=[('reserve', 'Reserve'), ('release', 'Release'), ('accrue', 'Accrue'), ('settle', 'Settle'), ('correct', 'Correct')], max_length=10)),
                        ('amount', models.DecimalField(decimal_places=6, max_digits=14)),
                        ('at', models.DateTimeField()),
                        ('day', models.DateField()),
                        ('seconds', models.FloatField(null=True)),
                        ('per_second', models.DecimalField(decimal_places=10, max_digits=16, null=True)),
                        ('priced_on', models.DateField(null=True)),
                        ('source', models.CharField(choices=[('estimate', 'Estimate'), ('price', "the operator's price"), ('provider', "the provider's own figure"), ('person', 'Person'), ('unpriced', 'Unpriced'), ('before', 'before the ledger')], max_length=10)),
                        ('by', models.CharField(blank=True, max_length=150)),
                        ('reason', models.CharField(blank=True, max_length=300)),
                        ('job', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='ledger_entries', to='jobs.job')),
                        ('organization', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='jobs.organization')),
                        ('user', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'verbose_name_plural': 'ledger entries',
                        'ordering': ['id'],
                        'default_permissions': ('view',),
                        'indexes': [models.Index(fields=['organization', 'day', 'id'], name='ledger_by_organization'), models.Index(fields=['day', 'id'], name='ledger_by_day'), models.Index(condition=models.Q(('kind', 'correct')), fields=['-id'], name='ledger_corrections')],
                        'constraints': [models.UniqueConstraint(fields=('job', 'sequence'), name='ledger_each_once'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'correct'), _negated=True), models.Q(models.Q(('by', ''), _negated=True), models.Q(('reason', ''), _negated=True)), _connector='OR'), name='correction_says_who_and_why')],
                    },
                ),
                migrations.CreateModel(
                    name='ServiceAccount',
                    fields=[
                        ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='service_account', serialize=False, to=settings.AUTH_USER_MODEL)),
                        ('name', models.CharField(max_length=40, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9._-]{0,39}\\Z', "A service account's name has 1 to 40 small letters, digits and any of . _ - and begins with a letter or digit.")])),
                        ('made_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('removed_at', models.DateTimeField(null=True)),
                        ('made_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='service_accounts', to='jobs.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('organization', 'name'), name='service_account_once')],
                    },
                ),
                migrations.CreateModel(
                    name='OutputFetch',
                    fields=[
                        ('job', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='output_fetch', serialize=False, to='jobs.job')),
                        ('status', models.CharField(choices=[('pending', 'Pending'), ('complete', 'Complete'), ('failed', 'Failed')], default='pending', max_length=20)),
                        ('sources', models.JSONField(default=list)),
                        ('fetched', models.PositiveIntegerField(default=0)),
                        ('bytes_fetched', models.PositiveBigIntegerField(default=0)),
                        ('failures', models.PositiveIntegerField(default=0)),
                        ('problem', models.TextField(blank=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('next_attempt_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('lease_until', models.DateTimeField(null=True)),
                    ],
                    options={
                        'verbose_name_plural': 'output fetches',
                        'indexes': [models.Index(condition=models.Q(('status', 'pending')), fields=['next_attempt_at'], name='output_fetch_due')],
                    },
                ),
                migrations.CreateModel(
                    name='StoredOutput',
                    fields=[
                        ('job', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='stored_output', serialize=False, to='jobs.job')),
                        ('files', models.PositiveIntegerField(default=0)),
                        ('size', models.PositiveBigIntegerField(default=0)),
                        ('checkpoints', models.PositiveIntegerField(default=0)),
                        ('measured_at', models.DateTimeField(null=True)),
                        ('pinned_at', models.DateTimeField(null=True)),
                        ('pinned_by', models.CharField(blank=True, max_length=150)),
                        ('remove_at', models.DateTimeField(null=True)),
                        ('cause', models.CharField(blank=True, choices=[('outputs', 'Age'), ('outputs_gb', 'Size'), ('checkpoints', 'Checkpoints')], max_length=20)),
                        ('begun_at', models.DateTimeField(null=True)),
                        ('removed_at', models.DateTimeField(null=True)),
                        ('removed', models.CharField(blank=True, max_length=300)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('remove_at__isnull', False)), fields=['remove_at'], name='output_to_remove')],
                        'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('begun_at__isnull', True), ('cause', ''), ('remove_at__isnull', True)), models.Q(('pinned_at__isnull', True), ('remove_at__isnull', False), models.Q(('cause', ''), _negated=True)), _connector='OR'), name='output_pinned_or_removed')],
                    },
                ),
                migrations.CreateModel(
                    name='Tag',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('name', models.CharField(max_length=40, validators=[jobs.models.tag.validate_tag])),
                        ('name_key', models.CharField(editable=False, max_length=120)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tags', to='jobs.organization')),
                    ],
                    options={
                        'ordering': ['name_key'],
                        'constraints': [models.UniqueConstraint(fields=('organization', 'name_key'), name='one_tag_a_name')],
                    },
                ),
                migrations.CreateModel(
                    name='JobTag',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('job', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='job_tags', to='jobs.job')),
                        ('tag', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='job_tags', to='jobs.tag')),
                    ],
                    options={
                        'default_permissions': (),
                        'indexes': [models.Index(fields=['tag', '-job'], name='job_by_tag')],
                        'constraints': [models.UniqueConstraint(fields=('job', 'tag'), name='one_tag_each')],
                    },
                ),
                migrations.CreateModel(
                    name='KeptCurves',
                    fields=[
                        ('job', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='kept_curves', serialize=False, to='jobs.job')),
                        ('requested_at', models.DateTimeField()),
                        ('read_at', models.DateTimeField(null=True)),
                        ('is_final', models.BooleanField(default=False)),
                        ('data', models.BinaryField(null=True)),
                    ],
                    options={
                        'verbose_name_plural': 'kept curves',
                    },
                ),
            ],
        ),
        append_only("jobs_ledgerentry", "Ledger entries are never edited or deleted."),
        migrations.RunPython(add_providers, migrations.RunPython.noop),
    ]
