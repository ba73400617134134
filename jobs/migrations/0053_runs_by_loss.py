"""The list of jobs orders them by their last loss."""

from django.db import migrations, models

from cloudtrain_site.database.online_indexes import AddIndexOnline


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0052_imported_costs'),
    ]

    operations = [
        AddIndexOnline(
            model_name='keptcurves',
            index=models.Index(condition=models.Q(('last_loss__isnull', False)), fields=['last_loss'], name='curves_by_loss'),
        ),
    ]

    # PostgreSQL makes an index beside a running site outside of a transaction alone.
    atomic = False
