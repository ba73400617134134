"""The tasks of the background loops."""

from __future__ import annotations

from approvals import expiry, notifications
from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.states import Source


@loop("approval expiration", failure_message="Error in approval expiration")
def expire_approvals() -> dict[str, int]:
    """Expire the requests whose deadline has passed, and enqueue the sending of due mails."""
    expired = expiry.expire_due(source=Source.LOOP)
    if notifications.due_notices().exists():
        # A task of its own sends them: a mail server that doesn't answer must not stop the loop.
        notifications.enqueue_sending()
    return {"expired": expired}


def send_notices() -> int:
    """Send the mails that are due. Returns how many went out."""
    return notifications.send_due()
