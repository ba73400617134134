"""Metrics of a year, and Prometheus' of all time, read all jobs of it: a second with a million."""

from django.db import migrations, models

from jobs.costs.day_marks import install, uninstall


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0060_loop_indexes'),
    ]

    operations = [
        migrations.CreateModel(
            name='ChangedDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
            ],
        ),
        migrations.CreateModel(
            name='DayFigures',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('scope', models.BigIntegerField()),
                ('provider', models.CharField(max_length=40)),
                ('status', models.CharField(max_length=20)),
                ('started_on', models.DateField(null=True)),
                ('jobs', models.PositiveBigIntegerField()),
                ('cost', models.DecimalField(decimal_places=6, max_digits=20)),
                ('unknown', models.PositiveBigIntegerField()),
                ('took', models.FloatField()),
                ('timed', models.PositiveBigIntegerField()),
                ('waited', models.FloatField()),
                ('waits', models.PositiveBigIntegerField()),
            ],
            options={
                'indexes': [models.Index(fields=['scope', 'day'], name='day_figures_of_scope')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('scope', -1)), fields=('day',), name='one_mark_a_summed_day')],
            },
        ),
        migrations.RunPython(install, uninstall),
    ]
