"""Mail about requests, to reviewers and requesters.

Each mail is stored in the transaction of the change that it reports; a task sends it after the commit. So a mail
server that doesn't answer delays no submission and no decision, and the loop sends the mails of a lost task.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F, QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timeuntil
from django_q.tasks import async_task

from approvals.models import ApprovalRequest, Notice
from approvals.reviewers import eligible, who_decides
from approvals.statuses import RequestStatus
from cloudtrain_site.accounts.preferences import muting_users
from cloudtrain_site.correlation_ids import HEADER, correlation, get_correlation_id
from cloudtrain_site.database.unit_of_work import insert_at_commit

logger = logging.getLogger("simpletuner.cloud.approvals")

Kind = Notice.Kind
TASK = "approvals.tasks.send_notices"
LAST_CALL = timedelta(hours=1)
#: A server that doesn't answer costs a task this much once: the first failure ends the batch.
TIMEOUT_SECONDS = 10
BATCH_SIZE = 20
MAX_TRIES = 5
#: The pause after the first failure; each further one is four times as long.
FIRST_RETRY_PAUSE = timedelta(minutes=1)


def plan_reviewer_mails(request: ApprovalRequest) -> None:
    """Store the mails of a new request, for now and while it stays undecided, and have them sent."""
    half = request.requested_at + (request.expires_at - request.requested_at) / 2
    due = {Kind.ASKED: request.requested_at, Kind.HALF_TIME: half}
    if request.expires_at - LAST_CALL > half:
        due[Kind.LAST_CALL] = request.expires_at - LAST_CALL
    _store_notices(request, due)
    enqueue_sending()


def plan_decision_mail(request: ApprovalRequest) -> None:
    """Store the mail to the requester. The caller enqueues the sending, once for many decisions."""
    _store_notices(request, {Kind.DECIDED: timezone.now()})


def _store_notices(request: ApprovalRequest, due: dict[Notice.Kind, datetime]) -> None:
    correlation_id = get_correlation_id()
    for kind, at in due.items():
        insert_at_commit(Notice(request_id=request.pk, kind=kind, due_at=at, correlation_id=correlation_id))


def enqueue_sending() -> None:
    """Enqueue the sending of due mails after this transaction's commit."""
    transaction.on_commit(partial(async_task, TASK), robust=True)


def due_notices() -> QuerySet[Notice]:
    """Return the mails to send now, the oldest first."""
    return Notice.objects.filter(done_at=None, due_at__lte=timezone.now()).order_by("due_at", "id")


def send_due() -> int:
    """Send a batch of due mails. Returns how many went out; a failing server ends the batch."""
    connection = get_connection(timeout=TIMEOUT_SECONDS)
    sent = 0
    for notice in due_notices().select_related("request__job", "request__requested_by")[:BATCH_SIZE]:
        if not _claim(notice):
            continue
        with correlation(notice.correlation_id):
            outcome = _send(notice, connection)
        if outcome is None:
            return sent
        sent += outcome
    if due_notices().exists():
        enqueue_sending()
    return sent


def _claim(notice: Notice) -> bool:
    """Claim a notice, and set the time of its next try in case this one fails. False: another task has it."""
    pause = FIRST_RETRY_PAUSE * 4**notice.tries
    unclaimed = Notice.objects.filter(pk=notice.pk, done_at=None, tries=notice.tries)
    notice.tries += 1
    return bool(unclaimed.update(tries=F("tries") + 1, due_at=timezone.now() + pause))


def _send(notice: Notice, connection: BaseEmailBackend) -> bool | None:
    """Send a claimed notice. True: it went out. False: nobody needs it any more. None: the server failed."""
    request = notice.request
    recipients = _recipients(notice)
    if not recipients:
        _finish(notice, "nobody to tell, or decided before")
        return False
    try:
        _mail_about(notice, recipients, connection).send()
    except Exception as error:
        logger.warning("A notice could not be sent", extra=request.log_fields(kind=notice.kind, error=str(error)))
        if notice.tries >= MAX_TRIES:
            _finish(notice, f"given up after {notice.tries} tries: {type(error).__name__}")
        return None
    _finish(notice, "sent")
    logger.info("Notice sent", extra=request.log_fields(kind=notice.kind, receivers=len(recipients)))
    return True


def _finish(notice: Notice, outcome: str) -> None:
    Notice.objects.filter(pk=notice.pk).update(done_at=timezone.now(), outcome=outcome)


def _recipients(notice: Notice) -> list[str]:
    """Return the addresses to send to; empty when the mail is needless by now."""
    request = notice.request
    if notice.kind == Kind.DECIDED:
        users = User.objects.filter(pk=request.requested_by_id or 0, is_active=True)
    elif request.status == RequestStatus.PENDING and request.expires_at > timezone.now():
        # Reviewers who have approved already get no further mail, nor those whose rules have their approvals.
        users = eligible(request).exclude(pk__in=request.decisions.values("user"))
    else:
        return []
    users = users.exclude(pk__in=muting_users(mail_kind_of(notice)))
    return list(users.exclude(email="").order_by("pk").values_list("email", flat=True))


def _mail_about(notice: Notice, recipients: list[str], connection: BaseEmailBackend) -> EmailMessage:
    request = notice.request
    context = {
        "request": request,
        "job": request.job,
        "kind": notice.kind,
        "requirements": [(item, who_decides(item)) for item in request.requirements.select_related("reviewer_group")],
        "left": timeuntil(request.expires_at),
        "page": f"{public_address()}{reverse('admin:approvals_approvalrequest_change', args=[request.pk])}",
    }
    name = "decided" if notice.kind == Kind.DECIDED else "asked"
    subject = render_to_string(f"approvals/mail/{name}_subject.txt", context)
    return EmailMessage(
        # The submitter chooses the config's name, and a header must be one line.
        subject=" ".join(subject.split()),
        body=render_to_string(f"approvals/mail/{name}.txt", context),
        to=recipients,
        connection=connection,
        headers={HEADER: notice.correlation_id},
    )


def public_address() -> str:
    """Return the site's address in mails: the first trusted origin without a wildcard, else localhost."""
    origins = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if "*" not in origin]
    return str(origins[0]).rstrip("/") if origins else "http://localhost:8001"


#: The kinds of mail in users' preferences.
DECIDED, ASKED, REMINDER = "approval_decided", "approval_asked", "approval_reminder"


def mail_kind_of(notice: Notice) -> str:
    """Return the kind of mail, as users' preferences name it."""
    names = {Notice.Kind.DECIDED: DECIDED, Notice.Kind.ASKED: ASKED}
    return names.get(Notice.Kind(notice.kind), REMINDER)
