"""Indexes that another begins with, and those that PostgreSQL got for LIKE, which nothing asks: each row paid for them."""

from django.conf import settings
from django.db import migrations
from django.db.models import CASCADE, ForeignKey

from cloudtrain_site.database.online_indexes import DropIndexesOnline


class Migration(migrations.Migration):

    dependencies = [
        ('notices', '0002_plain_texts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        DropIndexesOnline(
            'notices_delivery_user_id_e2e2be96',
            'notices_delivery_notice_id_2d5dfa0c',
            'notices_notice_key_e6f8d5bc_like',
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField('delivery', 'notice', ForeignKey(db_index=False, on_delete=CASCADE, related_name='deliveries', to='notices.notice')),
                migrations.AlterField('delivery', 'user', ForeignKey(db_index=False, null=True, on_delete=CASCADE, related_name='notice_deliveries', to=settings.AUTH_USER_MODEL)),
            ],
        ),
    ]
    # PostgreSQL drops an index beside a running site outside of a transaction alone.
    atomic = False
