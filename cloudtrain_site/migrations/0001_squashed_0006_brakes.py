"""The tables as they are after the migrations that it replaces, for an empty database; CONTRIBUTING.md has more of it."""

import django.core.serializers.json
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.audit.triggers import install, uninstall
from cloudtrain_site.database.create_models import CreateModels


class Migration(migrations.Migration):

    replaces = [
        ('cloudtrain_site', '0001_initial'),
        ('cloudtrain_site', '0002_preferences'),
        ('cloudtrain_site', '0003_limits_for_one_person'),
        ('cloudtrain_site', '0004_site_processes'),
        ('cloudtrain_site', '0005_audit_record'),
        ('cloudtrain_site', '0006_brakes'),
    ]

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('auth', '__first__'),
    ]

    operations = [
        CreateModels(
            models=[
                migrations.CreateModel(
                    name='Loop',
                    fields=[
                        ('name', models.CharField(max_length=60, primary_key=True, serialize=False)),
                        ('interval_seconds', models.FloatField()),
                        ('enabled', models.BooleanField(default=True)),
                        ('wanted_since', models.DateTimeField(null=True)),
                        ('lease_token', models.CharField(max_length=32, null=True)),
                        ('lease_until', models.DateTimeField(null=True)),
                        ('last_started_at', models.DateTimeField(null=True)),
                        ('last_finished_at', models.DateTimeField(null=True)),
                        ('last_duration_ms', models.FloatField(null=True)),
                        ('last_outcome', models.CharField(blank=True, max_length=20)),
                        ('last_result', models.JSONField(null=True)),
                        ('last_error', models.TextField(blank=True)),
                        ('last_machine', models.CharField(blank=True, max_length=100)),
                        ('last_recorded_at', models.DateTimeField(null=True)),
                    ],
                    options={
                        'ordering': ['name'],
                    },
                ),
                migrations.CreateModel(
                    name='ApiKey',
                    fields=[
                        ('digest', models.CharField(max_length=128, primary_key=True, serialize=False)),
                        ('token_key', models.CharField(db_index=True, max_length=25)),
                        ('created', models.DateTimeField(auto_now_add=True)),
                        ('expiry', models.DateTimeField(blank=True, null=True)),
                        ('name', models.CharField(blank=True, max_length=100)),
                        ('last_used_at', models.DateTimeField(null=True)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='auth_token_set', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'verbose_name': 'API key',
                        'ordering': ['-created'],
                    },
                ),
                migrations.CreateModel(
                    name='LoopRun',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('duration_ms', models.FloatField()),
                        ('outcome', models.CharField(max_length=20)),
                        ('result', models.JSONField(null=True)),
                        ('error', models.TextField(blank=True)),
                        ('correlation_id', models.CharField(max_length=128)),
                        ('machine', models.CharField(max_length=100)),
                        ('loop', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='cloudtrain_site.loop')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['loop', '-started_at'], name='run_by_loop'), models.Index(fields=['started_at'], name='run_by_age')],
                    },
                ),
                migrations.CreateModel(
                    name='Preferences',
                    fields=[
                        ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='preferences', serialize=False, to=settings.AUTH_USER_MODEL)),
                        ('time_zone', models.CharField(blank=True, help_text="Like Europe/Berlin; empty: the browser's.", max_length=60)),
                    ],
                    options={
                        'verbose_name_plural': 'preferences',
                    },
                ),
                migrations.CreateModel(
                    name='MutedMail',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('kind', models.CharField(max_length=40)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='muted_mail', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('user', 'kind'), name='muted_once')],
                    },
                ),
                migrations.CreateModel(
                    name='StreamCount',
                    fields=[
                        ('process', models.CharField(max_length=32, primary_key=True, serialize=False)),
                        ('machine', models.CharField(max_length=100)),
                        ('by_user', models.JSONField(default=dict)),
                        ('told_at', models.DateTimeField()),
                    ],
                ),
                migrations.CreateModel(
                    name='LimitUse',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('limit', models.CharField(max_length=40)),
                        ('used_until', models.FloatField(default=0.0)),
                        ('refused_at', models.DateTimeField(null=True)),
                        ('logged_at', models.DateTimeField(null=True)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='limit_uses', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('refused_at__isnull', False)), fields=['refused_at'], name='limit_refused')],
                        'constraints': [models.UniqueConstraint(fields=('user', 'limit'), name='one_use_a_limit')],
                    },
                ),
                migrations.CreateModel(
                    name='SiteProcess',
                    fields=[
                        ('id', models.CharField(max_length=32, primary_key=True, serialize=False)),
                        ('machine', models.CharField(max_length=100)),
                        ('role', models.CharField(max_length=20)),
                        ('pid', models.PositiveIntegerField()),
                        ('version', models.CharField(max_length=40)),
                        ('code', models.CharField(max_length=12)),
                        ('started_at', models.DateTimeField()),
                        ('seen_at', models.DateTimeField()),
                        ('clock_offset_seconds', models.FloatField(null=True)),
                    ],
                    options={
                        'ordering': ['machine', 'role', 'started_at'],
                    },
                ),
                migrations.CreateModel(
                    name='AuditGate',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ],
                    options={
                        'default_permissions': (),
                    },
                ),
                migrations.CreateModel(
                    name='AuditRecord',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('action', models.CharField(max_length=60)),
                        ('actor', models.CharField(max_length=150)),
                        ('actor_user_id', models.BigIntegerField(null=True)),
                        ('subject_kind', models.CharField(max_length=40)),
                        ('subject_id', models.CharField(max_length=100)),
                        ('subject', models.CharField(max_length=200)),
                        ('organization_id', models.BigIntegerField(null=True)),
                        ('organization', models.CharField(blank=True, max_length=100)),
                        ('before', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                        ('after', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                        ('source', models.CharField(choices=[('page', 'page'), ('api', 'API'), ('admin', 'admin'), ('command', 'command'), ('sso', 'SSO'), ('file', 'configuration file'), ('loop', 'background')], max_length=20)),
                        ('address', models.CharField(blank=True, max_length=45)),
                        ('correlation_id', models.CharField(max_length=128)),
                    ],
                    options={
                        'ordering': ['-id'],
                        'default_permissions': ('view',),
                        'indexes': [models.Index(fields=['organization_id', '-id'], name='audit_by_organization'), models.Index(fields=['actor_user_id', '-id'], name='audit_by_actor'), models.Index(fields=['subject_kind', 'subject_id', '-id'], name='audit_by_subject'), models.Index(fields=['at'], name='audit_by_age')],
                    },
                ),
                migrations.CreateModel(
                    name='Brake',
                    fields=[
                        ('key', models.CharField(max_length=80, primary_key=True, serialize=False)),
                        ('failures', models.FloatField(default=0.0)),
                        ('failed_at', models.FloatField(default=0.0)),
                        ('paused_until', models.FloatField(default=0.0)),
                    ],
                    options={
                        'indexes': [models.Index(fields=['failed_at'], name='brake_by_age')],
                    },
                ),
            ],
        ),
        migrations.RunPython(install, uninstall),
    ]
