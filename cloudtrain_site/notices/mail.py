"""Mails: one notice, or a digest of many, as plain text and simple HTML."""

from __future__ import annotations

import logging
import smtplib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string
from django.urls import reverse

from cloudtrain_site.conf.public_address import full_link, public_address
from cloudtrain_site.correlation_ids import HEADER
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.notices.outcomes import SENT, UNTRIED, Outcome, failed, refused

logger = logging.getLogger("simpletuner.cloud.notices")

#: Of each answer of the mail server.
TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail of one or more notices to one address. `can_choose`: the recipient can change what is sent."""

    address: str
    message_id: str
    notices: Sequence[Notice]
    can_choose: bool


def send_mails(mails: Sequence[Mail], deadline: float) -> list[Outcome]:
    """Send mails over one connection, until the deadline (of the monotonic clock).

    Returns their outcomes in order; a failing server ends the batch.
    """
    outcomes: list[Outcome] = []
    not_tried = UNTRIED
    connection = get_connection(timeout=TIMEOUT_SECONDS)
    try:
        connection.open()
        for mail in mails:
            if time.monotonic() > deadline:
                break
            outcomes.append(_send(mail, connection))
        connection.close()
    except Exception as error:
        logger.warning("A mail could not be sent", extra={"error": str(error)})
        outcomes.append(failed(f"The mail server failed: {type(error).__name__}."))
        not_tried = Outcome(is_sent=False, reason=outcomes[-1].reason)
    return [*outcomes, *[not_tried] * (len(mails) - len(outcomes))][: len(mails)]


def _send(mail: Mail, connection: BaseEmailBackend) -> Outcome:
    """Send one mail. Raises when the server, not this mail, is the reason that it fails."""
    try:
        message_of(mail, connection).send()
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        return _refused_by_server(code, text)
    except smtplib.SMTPDataError as error:
        return _refused_by_server(error.smtp_code, error.smtp_error)
    return SENT


def _refused_by_server(code: int, text: bytes | str) -> Outcome:
    answer = text.decode(errors="replace") if isinstance(text, bytes) else text
    reason = f"The mail server answered {code}: {' '.join(answer.split())}"
    return refused(reason) if code >= 500 else Outcome(is_sent=False, reason=reason[:300])


def message_of(mail: Mail, connection: BaseEmailBackend) -> EmailMultiAlternatives:
    """Return the message, with a Message-ID that is the same at each try."""
    settings_page = full_link(reverse("notices")) if mail.can_choose else ""
    context = {
        "subject": subject_of(mail.notices),
        "entries": [(notice, full_link(notice.link)) for notice in mail.notices],
        "settings_page": settings_page,
        "site": public_address(),
    }
    message = EmailMultiAlternatives(
        subject=subject_of(mail.notices),
        body=render_to_string("notices/mail.txt", context),
        to=[mail.address],
        connection=connection,
        headers={
            "Message-ID": f"<{mail.message_id}@{urlsplit(public_address()).hostname}>",
            "Auto-Submitted": "auto-generated",
            "X-Cloudtrain-Notices": ", ".join(notice.key for notice in mail.notices),
            HEADER: mail.notices[0].correlation_id,
            **({"List-Unsubscribe": f"<{settings_page}>"} if settings_page else {}),
        },
    )
    message.attach_alternative(render_to_string("notices/mail.html", context), "text/html")
    return message


def subject_of(notices: Sequence[Notice]) -> str:
    """Return the subject: the notice's own, or how many there are of each kind."""
    if len(notices) == 1:
        return notices[0].subject
    counts = Counter(notice.kind.replace("_", " ") for notice in notices)
    return f"{len(notices)} notices: {', '.join(f'{count} {kind}' for kind, count in counts.most_common(4))}"
