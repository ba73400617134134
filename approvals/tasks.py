"""What the background loops call."""

from __future__ import annotations

from approvals import expiry
from cloudtrain_site.loops import loop
from cloudtrain_site.states import Source


@loop("approval expiration", failure_message="Error in approval expiration")
def expire_approvals() -> dict[str, int]:
    """Expire the requests whose deadline has passed."""
    return {"expired": expiry.expire_due(source=Source.LOOP)}
