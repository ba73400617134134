"""The one way by which audit records go or lose a name: for the retention loop, and for a person's removal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import models

from cloudtrain_site.audit.models import AuditGate, AuditRecord
from cloudtrain_site.database.unit_of_work import unit_of_work

#: Small enough that no other writer waits long.
ROWS_PER_STATEMENT = 1000


def delete_older_than(at: datetime) -> int:
    """Delete the records of before `at`, in batches. Returns how many."""
    deleted = 0
    while keys := list(
        AuditRecord.objects.filter(at__lt=at).order_by("at").values_list("pk", flat=True)[:ROWS_PER_STATEMENT]
    ):
        with _open_table() as records:
            deleted += records.filter(pk__in=keys).delete()[0]
    return deleted


def rename_person(user_id: int, pseudonym: str) -> int:
    """Put `pseudonym` in the place of a person's name, as actor and as subject, and drop their addresses.

    `before` and `after` of records about the person go too: they may hold a name or a mail address. Returns how many
    records were changed.
    """
    with _open_table() as records:
        acted = records.filter(actor_user_id=user_id).update(actor=pseudonym, address="")
        about = records.filter(subject_kind="user", subject_id=str(user_id))
        return acted + about.update(subject=pseudonym, before=None, after=None)


@contextmanager
def _open_table() -> Iterator[models.QuerySet[AuditRecord]]:
    """Let this transaction alone edit and delete records: no other sees the gate's row."""
    with unit_of_work():
        AuditGate.objects.create()
        yield models.QuerySet(AuditRecord)
        AuditGate.objects.all().delete()
