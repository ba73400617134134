"""The check of the mail server."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

from django.conf import settings
from django.core.mail import get_connection

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
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        yield bad(f"The mail server {place} does not accept the account: {reason}.", URL)
        return
    if settings.DEFAULT_FROM_EMAIL.endswith("@localhost"):
        yield warn(
            f"Mails come from {settings.DEFAULT_FROM_EMAIL}, which mail servers refuse.",
            "DEFAULT_FROM_EMAIL=cloudtrain@YOUR.DOMAIN",
        )
    yield ok(f"{place} accepts the account.")
