"""When a pass runs: soon after a change that may have made room, and on the tick."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_q.tasks import async_task

from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import EVERYONE, Event, publish
from queueing.limits import queue_state
from queueing.models import QueueEntry, QueueState
from queueing.statuses import TAKES_SLOT, WAITING

#: A request whose task was lost lapses after this; the tick has come meanwhile anyway.
REQUEST_LIFETIME = timedelta(seconds=5)
_REQUESTED_AT = Prepared(lambda: QueueState.objects.filter(pk=1).values_list("pass_requested_at", flat=True))
#: The contract: at most one `queue_changed` a second.
QUEUE_CHANGED_INTERVAL = timedelta(seconds=1)
#: No queue is as deep: this value forces the next `queue_changed`.
FORCE_PUBLISH = 2**31 - 1


def request_pass() -> None:
    """Have a pass run after this transaction's commit. Many requests at once cause one more pass, not many."""
    transaction.on_commit(_enqueue_pass)


def _enqueue_pass() -> None:
    now = timezone.now()
    # Read first: of many requests at once all but one need not write the row for which they all would wait.
    requested_at = (_REQUESTED_AT() or [queue_state().pass_requested_at])[0]
    if requested_at is not None and requested_at >= now - REQUEST_LIFETIME:
        return
    is_free = Q(pass_requested_at=None) | Q(pass_requested_at__lt=now - REQUEST_LIFETIME)
    if QueueState.objects.filter(is_free, pk=1).update(pass_requested_at=now):
        async_task("queueing.tasks.run_pass")


def rules_changed() -> None:
    """Have a pass apply a changed order or limit, and publish `queue_changed` though the numbers are the same."""
    # After the commit: a transaction that holds other rows must not wait for this shared one.
    transaction.on_commit(_force_publish)
    request_pass()


def _force_publish() -> None:
    QueueState.objects.filter(pk=1).update(told_depth=FORCE_PUBLISH)


def begin_pass() -> None:
    """Close the open requests, before the pass reads the queue: a later request gets a pass of its own."""
    QueueState.objects.filter(pk=1).exclude(pass_requested_at=None).update(pass_requested_at=None)


def publish_queue() -> bool:
    """Publish `queue_changed` when the numbers differ from the last published ones, at most once a second.

    A later pass or the tick publishes a change that is held back here.
    """
    state = queue_state()
    depth = QueueEntry.objects.filter(status__in=WAITING).count()
    running = QueueEntry.objects.filter(status__in=TAKES_SLOT).count()
    if (state.told_depth, state.told_running) == (depth, running):
        return False
    now = timezone.now()
    is_due = Q(told_at=None) | Q(told_at__lte=now - QUEUE_CHANGED_INTERVAL)
    with unit_of_work():
        if not QueueState.objects.filter(is_due, pk=1).update(told_depth=depth, told_running=running, told_at=now):
            return False
        publish(Event(type="queue_changed", channel=EVERYONE, data={"queue_depth": depth, "running": running}))
    return True
