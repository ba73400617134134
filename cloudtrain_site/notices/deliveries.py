"""Deliveries by their state."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from cloudtrain_site.notices.models import Delivery

_CONDITIONS = {
    "waiting": Q(done_at=None, tries=0),
    "retrying": Q(done_at=None, tries__gt=0),
    "sent": Q(is_sent=True),
    "failed": Q(is_sent=False, done_at__isnull=False),
}
STATES = tuple(_CONDITIONS)


def in_state(deliveries: QuerySet[Delivery], state: str) -> QuerySet[Delivery]:
    """Return those whose `Delivery.state` is `state`; all of them for ""."""
    return deliveries.filter(_CONDITIONS[state]) if state else deliveries
