"""What the health page says of the notices: whether they wait, and which receivers fail."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Count
from django.utils import timezone

from cloudtrain_site.notices.models import Channel, Delivery
from cloudtrain_site.notices.outbox import due_deliveries, notices_to_address
from cloudtrain_site.notices.recipients import MAIL_SERVER

#: The loop looks every 10 seconds, and a sender that died holds its deliveries for 90.
LATE = timedelta(minutes=5)
#: As often in vain a receiver counts as one that fails: for 5 minutes by the pauses between.
FAILED_TRIES = 3


def what_is_wrong() -> str:
    """Return the problem as a sentence; "" while all is well.

    One webhook that doesn't answer is its owner's concern alone: `in_numbers` counts it.
    """
    late = timezone.now() - LATE
    notices = notices_to_address().filter(due_at__lt=late).count()
    deliveries = due_deliveries().filter(next_attempt_at__lt=late).count()
    if notices or deliveries:
        return (
            f"{notices + deliveries} notices should have been sent more than 5 minutes ago. "
            "Check that a background process is running, and the log."
        )
    mail = Delivery.objects.filter(done_at=None, receiver=MAIL_SERVER, tries__gte=FAILED_TRIES)
    if waiting := mail.count():
        reason = mail.order_by("-next_attempt_at").values_list("reason", flat=True)[0]
        return f"{waiting} mails can't be sent: {reason or 'no reason is known.'} Check EMAIL_URL and the mail server."
    return ""


def in_numbers() -> str:
    """Return what waits, and how many receivers fail or want nothing more, as a sentence."""
    waiting = Delivery.objects.filter(done_at=None)
    failing = waiting.filter(tries__gte=FAILED_TRIES).order_by().values("receiver").annotate(count=Count("pk"))
    held = sum(row["count"] for row in failing)
    off = Channel.objects.exclude(off_at=None).count()
    parts = [f"{waiting.count()} deliveries wait or are tried again"]
    if failing:
        parts.append(
            f"{len(failing)} receiver{'s' if len(failing) > 1 else ''} failed three times, with {held} of these"
        )
    if off:
        parts.append(f"{off} channel{'s are' if off > 1 else ' is'} off")
    return f"{'; '.join(parts)}."
