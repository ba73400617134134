"""Indexes that another begins with, and those that PostgreSQL got for LIKE, which nothing asks: each row paid for them."""

from django.conf import settings
from django.db import migrations
from django.db.models import CASCADE, PROTECT, ForeignKey

from cloudtrain_site.database.online_indexes import DropIndexesOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0068_fill_last_loss'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        DropIndexesOnline(
            'jobs_job_organization_id_7d00dcbc',
            'jobs_job_submitted_by_id_4bb0016c',
            'jobs_job_id_e5bc7a75_like',
            'jobs_job_correlation_id_74b46272_like',
            'jobs_job_dataset_id_79113e3c_like',
            'jobs_job_submission_marker_e9a30bbe_like',
            'jobs_jobevent_job_id_79067df7',
            'jobs_jobevent_job_id_79067df7_like',
            'jobs_jobevent_correlation_id_7a2919cf_like',
            'jobs_jobaccount_job_id_2623d706_like',
            'jobs_idempotencykey_user_id_6e7cf303',
            'jobs_idempotencykey_job_id_fb52399a_like',
            'jobs_logpiece_job_id_71038af4',
            'jobs_logpiece_job_id_71038af4_like',
            'jobs_webhookdelivery_external_id_0f54a26e_like',
            'jobs_webhookdelivery_job_id_b321b19f_like',
            'jobs_outputfetch_job_id_3ebebe58_like',
            'jobs_storedoutput_job_id_c63fa3d0_like',
            'jobs_keptcurves_job_id_2321c6d3_like',
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField('job', 'organization', ForeignKey(db_index=False, null=True, on_delete=PROTECT, related_name='jobs', to='jobs.organization')),
                migrations.AlterField('job', 'submitted_by', ForeignKey(db_index=False, null=True, on_delete=PROTECT, related_name='jobs', to=settings.AUTH_USER_MODEL)),
                migrations.AlterField('jobevent', 'job', ForeignKey(db_index=False, on_delete=CASCADE, related_name='events', to='jobs.job')),
                migrations.AlterField('idempotencykey', 'user', ForeignKey(db_index=False, on_delete=CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                migrations.AlterField('logpiece', 'job', ForeignKey(db_index=False, on_delete=CASCADE, related_name='log_pieces', to='jobs.job')),
            ],
        ),
    ]
    # PostgreSQL drops an index beside a running site outside of a transaction alone.
    atomic = False
