# The list of jobs orders them by their last loss.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0052_imported_costs'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='keptcurves',
            index=models.Index(condition=models.Q(('last_loss__isnull', False)), fields=['last_loss'], name='curves_by_loss'),
        ),
    ]
