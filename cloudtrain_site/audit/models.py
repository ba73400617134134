"""The audit record: who changed which right, rule, limit, key or setting, when and from where.

Rows are added and never edited. The methods here refuse it, and so do triggers in the database (`triggers.py`), unless
`retention.py` opens the table for one transaction. A migration that rebuilds the table installs the triggers anew.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from cloudtrain_site.audit.words import action_in_words


class AuditError(RuntimeError):
    """An attempt to edit or delete an audit record."""

    def __init__(self) -> None:
        super().__init__("Audit records are never edited or deleted.")


class AuditSource(models.TextChoices):
    """The way by which a change reached the site."""

    PAGE = "page", "page"
    API = "api", "API"
    ADMIN = "admin", "admin"
    COMMAND = "command", "command"
    SSO = "sso", "SSO"
    FILE = "file", "configuration file"
    LOOP = "loop", "background"


class AuditQuerySet(models.QuerySet["AuditRecord"]):
    """Reads and adds; everything else raises AuditError."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AuditError

    def delete(self) -> NoReturn:
        raise AuditError

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AuditError


class AuditRecord(models.Model):
    """One change. It has no foreign keys, so that it outlives its actor, its subject and its organization."""

    at = models.DateTimeField(default=timezone.now)
    #: Like `member_added`: the subject's kind, and what was done with it.
    action = models.CharField(max_length=60)
    #: The name that the actor had. No user: the name of a part of the system, or of an operator's command.
    actor = models.CharField(max_length=150)
    actor_user_id = models.BigIntegerField(null=True)
    subject_kind = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=100)
    #: The name that the subject had.
    subject = models.CharField(max_length=200)
    #: null: a change of the whole site, or of a person.
    organization_id = models.BigIntegerField(null=True)
    organization = models.CharField(max_length=100, blank=True)
    #: The fields that changed, with their former and their new values; secrets are masked. null: there was none.
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    source = models.CharField(max_length=20, choices=AuditSource.choices)
    #: The client's address; empty outside of a request.
    address = models.CharField(max_length=45, blank=True)
    correlation_id = models.CharField(max_length=128)

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [
            # The pages of an organization, of a person's changes, and of one subject; newest first.
            models.Index(fields=["organization_id", "-id"], name="audit_by_organization"),
            models.Index(fields=["actor_user_id", "-id"], name="audit_by_actor"),
            models.Index(fields=["subject_kind", "subject_id", "-id"], name="audit_by_subject"),
            # The retention loop.
            models.Index(fields=["at"], name="audit_by_age"),
        ]

    def __str__(self) -> str:
        return f"{action_in_words(self.action)}: {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the record. Raises AuditError for a stored one."""
        if not self._state.adding:
            raise AuditError
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AuditError


class AuditGate(models.Model):
    """Has a row only within a transaction of `retention.py`; while it has one, the triggers let that transaction pass.

    No other transaction sees the row, since it is gone at the commit.
    """

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return "open"
