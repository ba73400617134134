"""The captured log of a job, in pieces."""

from __future__ import annotations

from django.db import models

from jobs.models.job import Job


class LogPiece(models.Model):
    """Some of a job's log, from byte `start` to byte `end`: what came new with one look at its provider."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="log_pieces", db_index=False)
    start = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    text = models.TextField()

    class Meta:
        ordering = ["start"]
        constraints = [
            # Two who fetched the same log at the same moment: it is kept once.
            models.UniqueConstraint(fields=["job", "start"], name="one_piece_a_place"),
        ]

    def __str__(self) -> str:
        return f"{self.start}-{self.end} of {self.job_id}"
