"""The part of a job's page that shows from which run it was made, and the tree of both."""

from __future__ import annotations

from typing import Any

from jobs.models import Job
from jobs.permissions import AnyUser, visible_jobs
from jobs.queries import status_labels
from jobs.runs.changes import shown_change
from jobs.runs.tree import tree_of


def runs_of(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the tree of the job and what it changed of its parent; None for one that stands alone."""
    tree = tree_of(job, reader)
    if tree.total == 1:
        return None
    labels = status_labels([run.job for run in tree.runs], reader)
    source_id = job.parent_id or job.checkpoint_of_id
    changes = job.changes or {"items": [], "total": 0}
    return {
        "tree": tree,
        "number": next((run.number for run in tree.runs if run.job.pk == job.pk), None),
        "runs": [{"run": run, "label": labels[run.job.pk], "is_here": run.job.pk == job.pk} for run in tree.runs],
        "hidden": tree.total - len(tree.runs),
        "parent": visible_jobs(reader).filter(pk=source_id).first() if source_id else None,
        "is_changed": job.parent_id is not None,
        "changes": [shown_change(item) for item in changes["items"]],
        "more": changes["total"] - len(changes["items"]),
        "checkpoint": job.checkpoint or "",
    }
