"""What the jobs that ended on each past day come to, so that figures of a year don't read a million jobs."""

from __future__ import annotations

from django.db import models

#: In the place of an organization's id: all jobs, those of no organization too; and that the day is summed up.
OF_ALL, IS_SUMMED = 0, -1


class DayFigures(models.Model):
    """Sums of the jobs that ended so on one day, UTC, at one provider, and began on one; see costs/day_figures.py."""

    day = models.DateField()
    #: An organization's id, or one of the two above. Not a reference: a day is summed up again as a whole.
    scope = models.BigIntegerField()
    provider = models.CharField(max_length=40)
    status = models.CharField(max_length=20)
    started_on = models.DateField(null=True)
    jobs = models.PositiveBigIntegerField()
    cost = models.DecimalField(max_digits=20, decimal_places=6)
    unknown = models.PositiveBigIntegerField()
    took = models.FloatField()
    timed = models.PositiveBigIntegerField()
    waited = models.FloatField()
    waits = models.PositiveBigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["scope", "day"], name="day_figures_of_scope")]
        constraints = [
            # Of two that sum up a day at once, one fails and leaves it to the other.
            models.UniqueConstraint(fields=["day"], condition=models.Q(scope=IS_SUMMED), name="one_mark_a_summed_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.scope} {self.provider} {self.status}: {self.jobs}"


class ChangedDay(models.Model):
    """A past day with a job that has changed since: its sums may be wrong. Triggers write it: costs/day_marks.py."""

    day = models.DateField()

    def __str__(self) -> str:
        return str(self.day)
