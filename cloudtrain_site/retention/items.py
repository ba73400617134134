"""The site's own things that are kept for a time. Each removes what is older than `before`, until the time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef
from django_q.models import Task

from cloudtrain_site.audit.retention import delete_older_than
from cloudtrain_site.database.batches import delete_in_batches
from cloudtrain_site.events import store
from cloudtrain_site.models import LoopRun
from cloudtrain_site.notices.models import Delivery, Notice


def audit(before: datetime, until: float) -> int:
    return delete_older_than(before, until)


def events(before: datetime, until: float) -> int:
    return store.trim(before, keep=timedelta(), until=until)


def sessions(before: datetime, until: float) -> int:
    return delete_in_batches(Session.objects.filter(expire_date__lt=before).order_by(), until=until)


def tasks(before: datetime, until: float) -> int:
    return delete_in_batches(Task.objects.filter(stopped__lt=before).order_by(), until=until)


def loop_runs(before: datetime, until: float) -> int:
    return delete_in_batches(LoopRun.objects.filter(started_at__lt=before).order_by(), until=until)


def notices(before: datetime, until: float) -> int:
    """With their deliveries; one that still has something to send stays."""
    waiting = Delivery.objects.filter(notice=OuterRef("pk"), done_at=None)
    old = Notice.objects.filter(~Exists(waiting), created_at__lt=before, addressed_at__isnull=False)
    return delete_in_batches(old.order_by("created_at"), until=until)
