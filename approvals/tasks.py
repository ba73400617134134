"""The tasks of the background loops."""

from __future__ import annotations

from approvals import expiry
from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.notices.outbox import enqueue_sending
from cloudtrain_site.states import Source


@loop("approval expiration", failure_message="Error in approval expiration")
def expire_approvals() -> dict[str, int]:
    """Expire the requests whose deadline has passed."""
    return {"expired": expiry.expire_due(source=Source.LOOP)}


def send_notices() -> None:
    """Do what an older version enqueued under this name."""
    enqueue_sending()
