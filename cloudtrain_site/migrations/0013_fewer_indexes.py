"""Indexes that another begins with, and those that PostgreSQL got for LIKE, which nothing asks: each row paid for them."""

from django.db import migrations

from cloudtrain_site.database.online_indexes import DropIndexesOnline


class Migration(migrations.Migration):

    dependencies = [
        ('cloudtrain_site', '0012_plain_texts'),
        ('django_eventstream', '0001_initial'),
    ]

    operations = [
        DropIndexesOnline(
            'django_eventstream_event_channel_49bacd5e',
            'django_eventstream_event_channel_49bacd5e_like',
            'django_eventstream_event_type_0e7a664e',
            'django_eventstream_event_type_0e7a664e_like',
            'django_eventstream_eventcounter_name_3f2f7780_like',
        ),
    ]
    # PostgreSQL drops an index beside a running site outside of a transaction alone.
    atomic = False
