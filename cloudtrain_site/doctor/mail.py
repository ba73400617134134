"""The check of the mail server."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

from django.conf import settings
from django.core.mail import get_connection, send_mail

from cloudtrain_site.conf.public_address import public_address
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn
from cloudtrain_site.notices.health import what_is_wrong

SMTP = "django.core.mail.backends.smtp.EmailBackend"
TIMEOUT_SECONDS = 3
URL = "EMAIL_URL=smtp+tls://USER:PASSWORD@HOST:587"


def goes_out() -> Iterator[Finding]:
    """Check that the mail server takes our account, and that nothing waits for long. No mail is sent."""
    if sentence := what_is_wrong():
        yield warn(sentence, URL)
    if settings.EMAIL_BACKEND != SMTP:
        yield skipped("No mail server is set (EMAIL_URL): notices are shown on the pages only.")
        return
    place = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    server = get_connection(timeout=TIMEOUT_SECONDS)
    try:
        server.open()
        server.close()
    except (OSError, smtplib.SMTPException) as error:
        yield bad(f"The mail server {place} does not accept the account: {_reason(error)}.", URL)
        return
    if settings.DEFAULT_FROM_EMAIL.endswith("@localhost"):
        yield warn(
            f"Mails come from {settings.DEFAULT_FROM_EMAIL}, which mail servers refuse.",
            "DEFAULT_FROM_EMAIL=cloudtrain@YOUR.DOMAIN",
        )
    yield ok(f"{place} accepts the account.")


def send_test(to: str) -> Iterator[Finding]:
    """Send a mail to this address. That the server takes it says nothing of its arrival."""
    text = f"The doctor of {public_address()} sent this. Mail works; you don't need to do anything."
    try:
        send_mail("A test of cloudtrain's mail", text, None, [to], connection=get_connection(timeout=TIMEOUT_SECONDS))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        yield bad(f"The mail to {to} was not accepted: {_reason(error)}.", URL)
        return
    yield ok(f"The mail to {to} was accepted: check that it arrives.")


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
