"""Audit records by organization, person and subject, in pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from cloudtrain_site.audit.models import AuditRecord

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records; None and "" filter nothing. `since` is included, `until` is not."""

    organization_id: int | None = None
    actor: str = ""
    action: str = ""
    subject_kind: str = ""
    subject_id: str = ""
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def apply(self, records: QuerySet[AuditRecord] | None = None) -> QuerySet[AuditRecord]:
        """Return the records that fit, newest first."""
        columns = {
            "organization_id": self.organization_id,
            "actor": self.actor,
            "action": self.action,
            "subject_kind": self.subject_kind,
            "subject_id": self.subject_id,
            "source": self.source,
            "at__gte": self.since,
            "at__lt": self.until,
        }
        found = AuditRecord.objects.all() if records is None else records
        return found.filter(**{name: value for name, value in columns.items() if value not in (None, "")})


def of_person(user_id: int) -> QuerySet[AuditRecord]:
    """Return what a person changed, and what was changed about them."""
    return AuditRecord.objects.filter(Q(actor_user_id=user_id) | Q(subject_kind="user", subject_id=str(user_id)))


@dataclass(frozen=True, slots=True)
class AuditPage:
    records: Sequence[AuditRecord]
    #: Where the next page begins; None: this is the last one.
    next_cursor: int | None


def page_of(records: QuerySet[AuditRecord], *, cursor: int | None = None, limit: int = PAGE_SIZE) -> AuditPage:
    """Return the `limit` records that follow `cursor`, newest first; rows that come meanwhile move no page."""
    if cursor is not None:
        records = records.filter(pk__lt=cursor)
    rows = list(records.order_by("-pk")[: limit + 1])
    return AuditPage(rows[:limit], rows[limit - 1].pk if len(rows) > limit else None)


def actions_in(records: QuerySet[AuditRecord]) -> list[str]:
    """Return the actions that occur in `records`, by name: the choices of a page's filter."""
    return list(records.order_by("action").values_list("action", flat=True).distinct())
