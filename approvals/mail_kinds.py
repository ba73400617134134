"""The kinds of mail that everybody chooses about, and which notice is of which kind."""

from __future__ import annotations

from approvals.models import Notice
from cloudtrain_site.accounts.preferences import MailKind

DECIDED = MailKind("approval_decided", "When my request is approved, rejected or expires", order=10)
ASKED = MailKind("approval_asked", "When a job waits for my decision", order=20)
REMINDER = MailKind("approval_reminder", "Reminders while it still waits for my decision", order=30)
ALL = (DECIDED, ASKED, REMINDER)


def mail_kind_of(notice: Notice) -> str:
    """The name of the kind that `notice` is of."""
    named = {Notice.Kind.DECIDED: DECIDED, Notice.Kind.ASKED: ASKED}
    return named.get(Notice.Kind(notice.kind), REMINDER).name
