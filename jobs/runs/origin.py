"""What a submission was made from: nothing, a job that it repeats, or a job that it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.configs.submission import Submission
from jobs.models import Job
from jobs.runs.changes import changes_between, settings_of


@dataclass(frozen=True, slots=True)
class Origin:
    #: The job that it repeats with nothing changed.
    retry_of: Job | None = None
    #: The job that it changes.
    parent: Job | None = None
    #: The checkpoint of the parent from which it goes on, as a path in the parent's output; empty: from none.
    checkpoint: str = ""

    def columns(self, submission: Submission) -> dict[str, Any]:
        """Return the columns of `models.lineage.Lineage`."""
        source = self.retry_of or self.parent
        if source is None:
            return {}
        columns: dict[str, Any] = {"root_id": source.root_id or source.pk}
        if self.retry_of is not None:
            resumed = {"checkpoint_of_id": source.checkpoint_of_id, "checkpoint": source.checkpoint}
            return {**columns, **resumed, "retry_of": source, "attempt": source.attempt + 1}
        if self.checkpoint:
            columns |= {"checkpoint_of": source, "checkpoint": self.checkpoint}
        return {**columns, "parent": source, "changes": changes_between(settings_of(source), settings_of(submission))}

    @property
    def reason(self) -> str:
        """What the history says of the submission."""
        if self.retry_of is not None:
            return f"retry of {self.retry_of.pk}"
        if self.parent is None:
            return "submitted"
        onward = f", from its {self.checkpoint}" if self.checkpoint else ""
        return f"submitted as a run of {self.parent.pk} with changes{onward}"

    def key(self) -> str | list[str] | None:
        """Return what tells submissions apart that have the same config; None for one that was made from nothing."""
        if self.parent is not None:
            return [self.parent.pk, self.checkpoint]
        return self.retry_of.pk if self.retry_of else None


NEW = Origin()
