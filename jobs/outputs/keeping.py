"""The verbs about a job's files: pin, release, and what their page says of how long they stay."""

from __future__ import annotations

from django.utils import timezone

from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor
from jobs.models import Job, StoredOutput
from jobs.permissions import AnyUser

WHY = {
    StoredOutput.Cause.AGE: "results are kept for a limited time",
    StoredOutput.Cause.SIZE: "the organization's results exceed its limit",
    StoredOutput.Cause.CHECKPOINTS: "only the newest checkpoints of a run are kept",
}


def pin(job: Job, *, by: AnyUser) -> bool:
    """Keep the files of `job` until they are released. Returns whether that changed anything.

    Raises Conflict when their removal has begun.
    """
    with unit_of_work():
        row = _locked(job)
        if row.pinned_at is not None:
            return False
        if row.begun_at is not None:
            raise Conflict("The files are being removed: they can't be kept any more.", code="being_removed")
        StoredOutput.objects.filter(pk=row.pk).update(
            pinned_at=timezone.now(), pinned_by=Actor.of(by).name, remove_at=None, cause=""
        )
        _record(job, by, "results pinned", is_pinned=True)
    return True


def release(job: Job, *, by: AnyUser) -> bool:
    """Let the files of `job` go when their time is over. Returns whether that changed anything."""
    with unit_of_work():
        row = _locked(job)
        if row.pinned_at is None:
            return False
        StoredOutput.objects.filter(pk=row.pk).update(pinned_at=None, pinned_by="")
        _record(job, by, "results released", is_pinned=False)
    return True


def _locked(job: Job) -> StoredOutput:
    StoredOutput.objects.get_or_create(job=job)
    return StoredOutput.objects.select_for_update().get(pk=job.pk)


def _record(job: Job, by: AnyUser, action: str, *, is_pinned: bool) -> None:
    job.record_note(Actor.of(by), current_source(), action)
    before, after = {"pinned": not is_pinned}, {"pinned": is_pinned}
    record(action, job, by=by, organization=job.organization, before=before, after=after)


def stored_output_of(job: Job) -> StoredOutput:
    """Return what is known of the job's files; an unsaved row when nothing is."""
    return StoredOutput.objects.filter(pk=job.pk).first() or StoredOutput(job=job)


def taken_by(row: StoredOutput) -> str:
    """Return what the announced removal takes, as the beginning of a sentence."""
    return "All files" if row.takes_all else "Older checkpoints"
