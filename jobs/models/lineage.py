"""The columns of a job that say from which other job it was made."""

from __future__ import annotations

from django.db import models

PATH_LIMIT = 255


class Lineage(models.Model):
    """Where a run comes from. A retry has `retry_of`, a run with changes `parent`; both are in the tree of `root`."""

    retry_of = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, db_index=False, related_name="retries")
    attempt = models.PositiveIntegerField(default=1)
    #: The job whose submission it was made from, with changes.
    parent = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, db_index=False, related_name="runs")
    #: The first job of its tree; null for one that was made from none.
    root = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, db_index=False, related_name="tree")
    #: What differs from the parent, as `runs.changes.changes_between` has it.
    changes = models.JSONField(null=True, editable=False)
    #: The job from whose checkpoint it goes on, and the checkpoint's path in that job's output.
    checkpoint_of = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, db_index=False, related_name="resumed")
    checkpoint = models.CharField(max_length=PATH_LIMIT, null=True)

    class Meta:
        abstract = True
