"""The page of costs, its API and its exports read a row for each job and day: a year of a million jobs took a second.

Nothing is added up here: the days have no sums yet and are read row by row until the upkeep has added them up.
"""

from django.conf import settings
from django.db import migrations, models
from django.db.models import DO_NOTHING

from jobs.costs.cost_marks import install, uninstall

REFERENCE = {'db_constraint': False, 'db_index': False, 'null': True, 'on_delete': DO_NOTHING, 'related_name': '+'}


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0064_covering_indexes'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ChangedCosts',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.PositiveSmallIntegerField()),
                ('span', models.CharField(max_length=10)),
            ],
            options={'default_permissions': ()},
        ),
        migrations.CreateModel(
            name='CostSum',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.PositiveSmallIntegerField()),
                ('span', models.CharField(max_length=10)),
                ('organization', models.ForeignKey(to='jobs.organization', **REFERENCE)),
                ('user', models.ForeignKey(to=settings.AUTH_USER_MODEL, **REFERENCE)),
                ('job', models.ForeignKey(to='jobs.job', **REFERENCE)),
                ('provider', models.CharField(blank=True, max_length=40)),
                ('hardware', models.CharField(blank=True, max_length=40)),
                ('amount', models.BigIntegerField(default=0)),
                ('unpriced', models.PositiveBigIntegerField(default=0)),
            ],
            options={
                'default_permissions': (),
                'indexes': [
                    models.Index(
                        fields=['kind', 'span', 'organization', 'user', 'provider', 'hardware', 'amount', 'unpriced'],
                        name='cost_sums_of_span',
                    )
                ],
                'constraints': [
                    models.UniqueConstraint(
                        condition=models.Q(('kind__in', (0, 1))), fields=('span',), name='one_mark_a_summed_span'
                    )
                ],
            },
        ),
        migrations.RunPython(install, uninstall),
    ]
