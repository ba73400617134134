"""The note on a job: a short text of its organization's members."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor
from jobs.models import Job
from jobs.models.job import MAX_NOTE_CHARACTERS
from jobs.permissions import AnyUser, role_in
from jobs.roles import SUBMITTERS
from jobs.validators import holds_no_secret


def can_note(user: AnyUser, job: Job) -> bool:
    """Whether `user` may write the note: whoever may submit for the job's organization."""
    return role_in(user, job.organization_id) in SUBMITTERS


def check_may_note(user: User, job: Job) -> None:
    """Raise PermissionDenied for a user who doesn't write notes on this job."""
    if not can_note(user, job):
        raise PermissionDenied("Only members who can submit jobs can write a job's note.")


def set_note(job: Job, text: str, *, by: User, source: str) -> bool:
    """Let the job have this note; an empty one is none. False: it has it already.

    Raises PermissionDenied, and ValidationError for a text that is too long or that can't be stored.
    """
    check_may_note(by, job)
    note = " ".join(text.split())
    if "\x00" in note or len(note) > MAX_NOTE_CHARACTERS:
        raise ValidationError({"note": f"A note is plain text of at most {MAX_NOTE_CHARACTERS} characters."})
    try:
        holds_no_secret(note)
    except ValidationError as error:
        raise ValidationError({"note": error.messages}) from error
    with unit_of_work():
        current = Job.objects.select_for_update(no_key=True).select_related(None).get(pk=job.pk)
        if (current.note or "") == note:
            return False
        Job.objects.filter(pk=job.pk).update(note=note)
        job.note = current.note = note
        current.record_note(Actor.of(by), source, f"note: {note}" if note else "note: none")
    return True
