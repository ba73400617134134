"""The one way by which audit records go or lose a name: for the retention loop, and for a person's removal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from math import inf
from typing import Any

from django.db import models

from cloudtrain_site.audit.models import AuditGate, AuditRecord
from cloudtrain_site.database.batches import delete_in_batches
from cloudtrain_site.database.unit_of_work import unit_of_work


def delete_older_than(at: datetime, until: float = inf) -> int:
    """Delete the records of before `at`, until the monotonic time `until`. Returns how many."""
    old = AuditRecord.objects.filter(at__lt=at).order_by("at")
    return delete_in_batches(old, until=until, delete=_delete)


def _delete(keys: Sequence[Any]) -> int:
    with _open_table() as records:
        return records.filter(pk__in=keys).delete()[0]


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
def opened() -> Iterator[None]:
    """Let this transaction alone edit and delete rows that triggers keep as they are: no other sees the gate's row."""
    with unit_of_work():
        gate = AuditGate.objects.create()
        yield
        gate.delete()


@contextmanager
def _open_table() -> Iterator[models.QuerySet[AuditRecord]]:
    with opened():
        yield models.QuerySet(AuditRecord)
