"""The stored events."""

from __future__ import annotations

from django.db.models import QuerySet
from django_eventstream.models import Event

from cloudtrain_site.events.publish import USER_CHANNEL


def published_events() -> QuerySet[Event]:
    """What browsers get to hear; not what only ends a stream."""
    events: QuerySet[Event] = Event.objects.exclude(channel__startswith=USER_CHANNEL)
    return events
