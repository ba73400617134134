"""The one way to write an audit record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.origin import current_origin
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.redaction import mask_secrets
from cloudtrain_site.states import Actor

#: The actor of a command, whose operator has no account here.
OPERATOR = Actor(name="operator")


class Organizational(Protocol):
    """An organization: this room has none, and needs only these of it."""

    pk: Any
    name: Any


@dataclass(frozen=True, slots=True)
class Subject:
    """What was changed: `kind` like `user` or `rule`, and the name that it has now."""

    kind: str
    id: str
    label: str

    @classmethod
    def of(cls, row: models.Model) -> Subject:
        """Return the subject that `row` is: its model's name, key and text."""
        return cls(str(row._meta.verbose_name), str(row.pk), str(row))


def record(
    action: str,
    subject: Subject | models.Model,
    *,
    by: Actor | AbstractBaseUser | AnonymousUser,
    organization: Organizational | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditRecord:
    """Put a change on record. To be called in the change's transaction.

    `before` and `after` have the fields that changed; what looks like a secret in them is masked. Source, address and
    correlation id are those of the current work. Raises ValueError for an anonymous `by`.
    """
    actor = by if isinstance(by, Actor) else Actor.of(by)
    subject = subject if isinstance(subject, Subject) else Subject.of(subject)
    origin = current_origin()
    return AuditRecord.objects.create(
        action=action,
        actor=actor.name[:150],
        actor_user_id=actor.user_id,
        subject_kind=subject.kind[:40],
        subject_id=subject.id[:100],
        subject=subject.label[:200],
        organization_id=None if organization is None else organization.pk,
        organization="" if organization is None else str(organization.name),
        before=None if before is None else mask_secrets(dict(before)),
        after=None if after is None else mask_secrets(dict(after)),
        source=origin.source,
        address=origin.address,
        correlation_id=get_correlation_id(),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return of both the fields whose values differ."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in changed}, {name: after.get(name) for name in changed}
