"""The outbox: a notice is stored in the transaction of its change, and sent after the commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.database.fast_sql import OnConflict, unsaved, upsert
from cloudtrain_site.database.prepared import Prepared
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
) -> None:
    """Store a notice in the open unit of work, or in one of its own; it is sent after the commit.

    `kind` is registered in `extensions.notice_kinds`. `key` names what is reported: a second notice under the same key
    is not stored. `subject` is one line, `text` some plain lines, `link` the path of a page of this site; `data` goes
    to webhooks as it is. With `due_at` the notice waits until then.
    """
    now = timezone.now()
    notice = unsaved(
        Notice,
        kind=kind,
        key=key,
        subject=_one_line(subject),
        text=_bounded(text),
        link=link,
        data=dict(data or {}),
        users=sorted(set(audience.users)),
        emails=sorted(set(audience.emails)),
        organization_id=audience.organization_id,
        actor_id=audience.actor_id,
        job_id=job_id,
        created_at=now,
        due_at=due_at or now,
        correlation_id=get_correlation_id(),
    )
    at_end_of_unit(notice, _insert, early=True)


def fill_in(notice: Notice, *, subject: str, text: str, data: Mapping[str, Any]) -> None:
    """Set what a kind's `prepare` finds out when the notice is due; `data` is added to what is there."""
    notice.subject, notice.text = _one_line(subject), _bounded(text)
    notice.data = {**notice.data, **data}


def call_back(notice: Notice, address: str, user_id: int) -> None:
    """Have `prepare` name an address to call about this notice alone, signed with the secret of this user."""
    notice.sealed_address, notice.address_owner_id = seal_texts([address]), user_id


def _bounded(text: str) -> str:
    return text[:TEXT_LIMIT].replace("\0", "")


def _one_line(text: str) -> str:
    """Return a header's text: names in it were chosen by people."""
    line = " ".join(text.replace("\0", "").split())
    return line if len(line) <= SUBJECT_LIMIT else f"{line[: SUBJECT_LIMIT - 1]}…"


def _insert(notices: list[Notice]) -> None:
    upsert(notices, OnConflict(unique=("key",)))
    now = timezone.now()
    if due := sum(notice.due_at <= now for notice in notices):
        transaction.on_commit(partial(_send_for, due), robust=True)


def _send_for(count: int) -> None:
    """Enqueue a sender for `count` new notices, unless others wait with them: one is enqueued for those already."""
    if len(_first_to_address(count + 1)(timezone.now())) <= count:
        enqueue_sending()


@cache
def _first_to_address(count: int) -> Prepared[Any]:
    return Prepared(lambda now: _to_address(now).values_list("pk")[:count])


def enqueue_sending() -> None:
    """Enqueue a task that sends what is due, unless a sender is at work: it looks again after its end."""
    if not Loop.objects.filter(pk=LOOP, lease_until__gt=timezone.now()).exists():
        async_task(TASK)


def notices_to_address() -> QuerySet[Notice]:
    """Return the due notices that have no deliveries yet, the oldest first."""
    return _to_address(timezone.now())


def _to_address(now: datetime) -> QuerySet[Notice]:
    return Notice.objects.filter(addressed_at=None, due_at__lte=now).order_by("due_at", "id")


def due_deliveries() -> QuerySet[Delivery]:
    """Return the deliveries to send now, the oldest first."""
    now = timezone.now()
    return Delivery.objects.filter(done_at=None, next_attempt_at__lte=now).order_by("next_attempt_at", "id")
