"""Indexes that another begins with, and those that PostgreSQL got for LIKE, which nothing asks: each row paid for them."""

from django.db import migrations
from django.db.models import CASCADE, ForeignKey

from cloudtrain_site.database.online_indexes import DropIndexesOnline


class Migration(migrations.Migration):

    dependencies = [
        ('queueing', '0010_plain_texts'),
    ]

    operations = [
        DropIndexesOnline(
            'queueing_queueentry_claim_token_889f7505_like',
            'queueing_queueentry_job_id_68c814ed_like',
            'queueing_queueentry_organization_id_3ee1b9a8',
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField('queueentry', 'organization', ForeignKey(db_index=False, null=True, on_delete=CASCADE, related_name='+', to='jobs.organization')),
            ],
        ),
    ]
    # PostgreSQL drops an index beside a running site outside of a transaction alone.
    atomic = False
