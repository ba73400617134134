import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from cloudtrain_site.database.create_models import CreateModels


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '__first__'),
    ]

    operations = [
        CreateModels(
            models=[
                migrations.CreateModel(
                    name='Channel',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('organization_id', models.BigIntegerField(null=True)),
                        ('kind', models.CharField(choices=[('mail', 'Mail'), ('browser', 'Browser'), ('webhook', 'Webhook'), ('chat', 'Chat'), ('job_webhook', 'Webhook of a job')], max_length=20)),
                        ('name', models.CharField(blank=True, max_length=100)),
                        ('shown', models.CharField(blank=True, max_length=320)),
                        ('sealed_address', models.TextField(blank=True, editable=False)),
                        ('sealed_secrets', models.TextField(blank=True, editable=False)),
                        ('previous_secret_until', models.DateTimeField(null=True)),
                        ('muted', models.JSONField(default=list)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('off_at', models.DateTimeField(null=True)),
                        ('off_reason', models.CharField(blank=True, max_length=300)),
                        ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='notice_channels', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('organization_id__isnull', False)), fields=['organization_id'], name='channel_of_organization')],
                        'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('organization_id__isnull', True), ('user__isnull', False)), models.Q(('organization_id__isnull', False), ('user__isnull', True)), _connector='OR'), name='channel_has_one_owner'), models.UniqueConstraint(condition=models.Q(('kind__in', ['browser', 'job_webhook'])), fields=('user', 'kind'), name='one_such_channel_a_user')],
                    },
                ),
                migrations.CreateModel(
                    name='Notice',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('kind', models.CharField(max_length=40)),
                        ('key', models.CharField(max_length=200, unique=True)),
                        ('subject', models.CharField(max_length=200)),
                        ('text', models.TextField(blank=True)),
                        ('link', models.CharField(blank=True, max_length=500)),
                        ('data', models.JSONField(default=dict)),
                        ('users', models.JSONField(default=list)),
                        ('emails', models.JSONField(default=list)),
                        ('organization_id', models.BigIntegerField(null=True)),
                        ('job_id', models.CharField(blank=True, max_length=26)),
                        ('sealed_address', models.TextField(blank=True, editable=False)),
                        ('address_owner_id', models.BigIntegerField(null=True)),
                        ('actor_id', models.BigIntegerField(null=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('due_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('addressed_at', models.DateTimeField(null=True)),
                        ('correlation_id', models.CharField(max_length=128)),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('addressed_at__isnull', True)), fields=['due_at', 'id'], name='notice_to_address'), models.Index(fields=['created_at'], name='notice_by_age')],
                    },
                ),
                migrations.CreateModel(
                    name='Delivery',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('kind', models.CharField(choices=[('mail', 'Mail'), ('browser', 'Browser'), ('webhook', 'Webhook'), ('chat', 'Chat'), ('job_webhook', 'Webhook of a job')], max_length=20)),
                        ('organization_id', models.BigIntegerField(null=True)),
                        ('recipient', models.CharField(max_length=340)),
                        ('shown', models.CharField(blank=True, max_length=320)),
                        ('receiver', models.CharField(max_length=300)),
                        ('message_id', models.CharField(blank=True, max_length=60)),
                        ('tries', models.PositiveSmallIntegerField(default=0)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('next_attempt_at', models.DateTimeField(default=django.utils.timezone.now)),
                        ('lease_token', models.CharField(blank=True, max_length=32)),
                        ('done_at', models.DateTimeField(null=True)),
                        ('is_sent', models.BooleanField(default=False)),
                        ('reason', models.CharField(blank=True, max_length=300)),
                        ('channel', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='deliveries', to='notices.channel')),
                        ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='notice_deliveries', to=settings.AUTH_USER_MODEL)),
                        ('notice', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='notices.notice')),
                    ],
                    options={
                        'indexes': [models.Index(condition=models.Q(('done_at__isnull', True)), fields=['next_attempt_at', 'id'], name='delivery_due'), models.Index(condition=models.Q(('done_at__isnull', True)), fields=['receiver'], name='delivery_waiting'), models.Index(fields=['message_id'], name='delivery_by_message'), models.Index(fields=['recipient', '-done_at'], name='delivery_by_recipient'), models.Index(fields=['user', '-id'], name='delivery_of_user'), models.Index(fields=['organization_id', '-id'], name='delivery_of_organization')],
                        'constraints': [models.UniqueConstraint(fields=('notice', 'recipient'), name='one_delivery_a_recipient'), models.CheckConstraint(condition=models.Q(('is_sent', False), ('done_at__isnull', False), _connector='OR'), name='delivery_sent_when_done')],
                    },
                ),
            ],
        ),
    ]
