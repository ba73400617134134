"""The curves of jobs, kept so that several are compared without reading their logs."""

from __future__ import annotations

from django.db import models


class KeptCurves(models.Model):
    """The curves that were read from one job's log, with few points of each."""

    job = models.OneToOneField("jobs.Job", models.CASCADE, primary_key=True, related_name="kept_curves")
    #: When a worker was asked to read them.
    requested_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)
    #: The log was complete then: it need not be read again.
    is_final = models.BooleanField(default=False)
    #: JSON, compressed; null until it was read.
    data = models.BinaryField(null=True)

    #: Null without a loss, and in a row of an older version.
    last_loss = models.FloatField(null=True)

    class Meta:
        verbose_name_plural = "kept curves"

    def __str__(self) -> str:
        return f"curves of {self.job_id}"
