import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0028_unknown_costs_of_ended_jobs'),
    ]

    operations = [
        migrations.AlterField(
            model_name='providerconfig',
            name='seconds_per_step',
            field=models.FloatField(default=1.0, help_text='Seconds that a step of batch 1 takes at least. Estimates multiply them by batch and accumulation, until five runs of a kind tell; 0: not known.', validators=[django.core.validators.MinValueValidator(0.0)]),
        ),
    ]
