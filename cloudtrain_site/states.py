"""The one writer of any status column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models, transaction
from django.utils import timezone

from cloudtrain_site.correlation_ids import correlation, get_correlation_id
from cloudtrain_site.database.fast_sql import update_if
from cloudtrain_site.database.unit_of_work import joined_unit
from cloudtrain_site.tracing.spans import span


class Source(models.TextChoices):
    """The way by which a change was made."""

    API = "api"
    DASHBOARD = "dashboard"
    ADMIN = "admin"
    WEBHOOK = "webhook"
    POLL = "poll"
    LOOP = "loop"
    COMMAND = "command"
    DISPATCHER = "dispatcher"


@dataclass(frozen=True)
class Actor:
    """The author of a change: a person, or a part of the system under its name."""

    name: str
    user_id: int | None = None

    @classmethod
    def of(cls, user: AbstractBaseUser | AnonymousUser) -> Actor:
        """Return the actor for `user`. Raises ValueError for an anonymous one, who may change nothing."""
        if not user.is_authenticated:
            raise ValueError("an anonymous user can't act")
        return cls(name=user.get_username(), user_id=user.pk)


SYSTEM = Actor(name="system")


@dataclass(frozen=True)
class Change:
    """One move of one object, as it is recorded and published."""

    subject: str
    old: str
    new: str
    actor: Actor
    source: str
    reason: str
    correlation_id: str
    at: datetime
    #: The subjects of other objects that the same transaction ends: receivers need not search for them.
    along: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        obj: Stateful,
        old: str,
        new: str,
        *,
        actor: Actor,
        source: str,
        reason: str = "",
        correlation_id: str | None = None,
        at: datetime | None = None,
        along: tuple[str, ...] = (),
    ) -> Change:
        """Return a move of `obj` by the current work at this moment, unless the arguments say otherwise."""
        return cls(
            subject=obj.SUBJECT,
            old=old,
            new=new,
            actor=actor,
            source=source,
            reason=reason,
            correlation_id=correlation_id or get_correlation_id(),
            at=at or timezone.now(),
            along=along,
        )


class Stateful(models.Model):
    """A row with a status that only `change_state` writes."""

    SUBJECT: ClassVar[str]
    ALLOWED: ClassVar[Mapping[str, frozenset[str]]]

    # Each model gives the field its own choices.
    status = models.CharField(max_length=20)

    class Meta:
        abstract = True

    def record(self, change: Change) -> None:
        """Write the history row and publish the event of `change`. Called inside its transaction."""
        raise NotImplementedError

    def announce(self, change: Change) -> None:
        """Send the signal of `change` to the rest of the program. Called once, after the commit."""


def change_state(
    obj: Stateful,
    to: str,
    *,
    actor: Actor,
    source: str,
    reason: str = "",
    only_if: Mapping[str, Any] | None = None,
    along: tuple[str, ...] = (),
    **fields: Any,
) -> bool:
    """Move `obj` to `to`, with its history and its event, and tell the world after the commit.

    `only_if` narrows the update further, to a row that has these values too (a claim token, say); `fields` are written
    with the status; `along` names what the caller ends in the same transaction.
    True: this call made the change, and `obj` shows it. False: someone else got there first, or the move
    is not allowed; nothing was written and nobody is told.
    """
    old = obj.status
    if to not in obj.ALLOWED[old]:
        return False
    change = Change.of(obj, old, to, actor=actor, source=source, reason=reason, along=along)
    with joined_unit():
        # Exactly the state that was read, not any allowed one: the history's `old` must be true.
        read, written = {"id": obj.pk, "status": old, **(only_if or {})}, {"status": to, **fields}
        if not update_if(type(obj), read, written):
            return False
        for name, value in written.items():
            setattr(obj, name, value)
        obj.record(change)
        # Not a partial: when it fails, Django asks it for its name.
        transaction.on_commit(lambda: _announce(obj, change), robust=True)
    return True


def move_all(rows: models.QuerySet[Any], to: str, *, old: str, **fields: Any) -> int:
    """Move those of `rows` that are still at `old` to `to`, in one statement. Returns how many.

    For moves without an event. The caller identifies its own rows by `fields` (by a token of its own, say), and writes
    their history in the same transaction.
    """
    return rows.filter(status=old).update(status=to, **fields) if to in rows.model.ALLOWED[old] else 0


def _announce(obj: Stateful, change: Change) -> None:
    """Restore the change's correlation id: the commit may run after its work has ended, as in a batch."""
    with correlation(change.correlation_id), span(f"{change.subject} {change.new}", {"from": change.old}):
        obj.announce(change)
