"""The tasks of the sender. Their names are stored in the database and never change."""

from __future__ import annotations

from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.notices.outbox import LOOP, enqueue_sending
from cloudtrain_site.notices.sending import anything_due, send_due


@loop(LOOP)
def deliver() -> dict[str, int]:
    """Send the notices and deliveries that are due. One sender at a time: the others would wait beside it."""
    return {"sent": send_due()}


def send_now() -> None:
    """Send what is due, and look again after the end: what was stored just before it need not wait for a tick."""
    deliver()
    if anything_due():
        enqueue_sending()
