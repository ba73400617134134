"""What the background loops call."""

from __future__ import annotations

from approvals import expiry, notices
from cloudtrain_site.loops import loop
from cloudtrain_site.states import Source


@loop("approval expiration", failure_message="Error in approval expiration")
def expire_approvals() -> dict[str, int]:
    """Expire the requests whose deadline has passed, and have the reminders sent that are due."""
    expired = expiry.expire_due(source=Source.LOOP)
    if notices.due_notices().exists():
        # In a task of its own: a mail server that doesn't answer must not hold the loop up.
        notices.send_soon()
    return {"expired": expired}


def send_notices() -> int:
    """Send the mails that are due. Returns how many went out."""
    return notices.send_due()
