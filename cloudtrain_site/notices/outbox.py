"""The outbox: a notice is stored in the transaction of its change, and sent after the commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.unit_of_work import at_end_of_unit
from cloudtrain_site.models import Loop
from cloudtrain_site.notices.models import Delivery, Notice
from cloudtrain_site.notices.sealing import seal_texts

LOOP = "notice delivery"
TASK = "cloudtrain_site.notices.tasks.send_now"
SUBJECT_LIMIT = 200
TEXT_LIMIT = 4000


@dataclass(frozen=True, slots=True)
class Audience:
    """The recipients of a notice.

    `users`: ids, each over their own channels. `emails`: addresses of people who are no users. `organization_id`: its
    channels receive the notice too. `actor_id`: the user who made the change, whom it is not sent to.
    """

    users: Iterable[int] = ()
    emails: Iterable[str] = ()
    organization_id: int | None = None
    actor_id: int | None = None


@dataclass(frozen=True, slots=True)
class CallBack:
    """An address to call about one notice, signed with the secret of the user who named it."""

    address: str = field(repr=False)
    user_id: int


def store(
    kind: str,
    *,
    key: str,
    subject: str,
    audience: Audience,
    text: str = "",
    link: str = "",
    job_id: str = "",
    data: Mapping[str, Any] | None = None,
    due_at: datetime | None = None,
    call_back: CallBack | None = None,
) -> None:
    """Store a notice in the open unit of work, or in one of its own; it is sent after the commit.

    `kind` is registered in `extensions.notice_kinds`. `key` names what is reported: a second notice under the same key
    is not stored. `subject` is one line, `text` some plain lines, `link` the path of a page of this site; `data` goes
    to webhooks as it is. With `due_at` the notice waits until then.
    """
    now = timezone.now()
    notice = Notice(
        kind=kind,
        key=key,
        subject=_one_line(subject),
        text=text[:TEXT_LIMIT].replace("\0", ""),
        link=link,
        data=dict(data or {}),
        users=sorted(set(audience.users)),
        emails=sorted(set(audience.emails)),
        organization_id=audience.organization_id,
        actor_id=audience.actor_id,
        job_id=job_id,
        sealed_address=seal_texts([call_back.address]) if call_back else "",
        address_owner_id=call_back.user_id if call_back else None,
        created_at=now,
        due_at=due_at or now,
        correlation_id=get_correlation_id(),
    )
    at_end_of_unit(notice, _insert)


def _one_line(text: str) -> str:
    """Return a header's text: names in it were chosen by people."""
    line = " ".join(text.replace("\0", "").split())
    return line if len(line) <= SUBJECT_LIMIT else f"{line[: SUBJECT_LIMIT - 3]}..."


def _insert(notices: list[Notice]) -> None:
    Notice.objects.bulk_create(notices, ignore_conflicts=True)
    now = timezone.now()
    if any(notice.due_at <= now for notice in notices):
        transaction.on_commit(enqueue_sending, robust=True)


def enqueue_sending() -> None:
    """Enqueue a task that sends what is due, unless a sender is at work: it looks again before it ends."""
    if not Loop.objects.filter(pk=LOOP, lease_until__gt=timezone.now()).exists():
        async_task(TASK)


def notices_to_address() -> QuerySet[Notice]:
    """Return the due notices that have no deliveries yet, the oldest first."""
    return Notice.objects.filter(addressed_at=None, due_at__lte=timezone.now()).order_by("due_at", "id")


def due_deliveries() -> QuerySet[Delivery]:
    """Return the deliveries to send now, the oldest first."""
    now = timezone.now()
    return Delivery.objects.filter(done_at=None, next_attempt_at__lte=now).order_by("next_attempt_at", "id")
