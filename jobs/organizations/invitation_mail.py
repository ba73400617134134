"""The mail with an invitation's link."""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.template.loader import render_to_string

from jobs.models import Invitation

logger = logging.getLogger("simpletuner.cloud.http")

TIMEOUT_SECONDS = 10


def mail_invitation(invitation: Invitation, link: str) -> bool:
    """Send the link to the invitation's address. False: it has none, or the server took no mail, which is logged.

    To be called after the commit. It is sent at once and stored nowhere: whoever reads the link may use it, and who
    invited has it in any case.
    """
    if not invitation.email:
        return False
    text = render_to_string("dashboard/mail/invitation.txt", {"invitation": invitation, "link": link})
    subject, _, body = text.partition("\n")
    connection = get_connection(timeout=TIMEOUT_SECONDS)
    message = EmailMessage(
        subject, body.lstrip(), settings.DEFAULT_FROM_EMAIL, [invitation.email], connection=connection
    )
    try:
        return bool(message.send())
    except OSError as error:
        logger.warning("Invitation could not be mailed", extra={"invitation": invitation.pk, "error": str(error)})
        return False
