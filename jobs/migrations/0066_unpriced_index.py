"""The page of costs read all rows of its days to count the jobs whose cost is not known."""

from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0065_cost_sums'),
    ]

    operations = [
        AddIndexOnline(
            model_name='daycost',
            index=models.Index(
                condition=models.Q(('is_unpriced', True)),
                fields=['day', 'organization', 'job'],
                name='day_cost_unpriced',
            ),
        ),
    ]
    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
