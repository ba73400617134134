"""Who was refused something by a limit, and how many requests each person has left. All processes share it."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import DatabaseError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest, Least
from django.utils import timezone

from cloudtrain_site.database.failures import noted_failure
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.models import LimitUse

logger = logging.getLogger("simpletuner.cloud.http")

#: A person who runs into a limit again and again is in the log once in this time.
LOG_INTERVAL = timedelta(hours=1)
#: The database learns of refusals at most this often.
NOTE_INTERVAL = timedelta(seconds=10)
MINUTE = 60.0


def seconds_to_wait(user_id: int, limit: str, per_minute: int) -> float:
    """Count a request of the user's. 0.0: it may go; otherwise the seconds until one may, and this one isn't counted.

    `per_minute` requests may come at once, and then one each time that its share of a minute is over. Where nothing can
    be counted, as on a full disk, every request may go: the limit protects the site's speed, and reading must work.
    """
    try:
        return _take(user_id, limit, MINUTE / per_minute)
    except DatabaseError as error:
        if noted_failure(error) is None:
            logger.warning("A request could not be counted, and may go", extra={"limit": limit, "error": str(error)})
        return 0.0


def _take(user_id: int, limit: str, share: float) -> float:
    """The generic cell rate algorithm in one UPDATE, so that no two requests take the same share."""
    uses, now = LimitUse.objects.filter(user_id=user_id, limit=limit), time.time()
    latest = now + MINUTE - share
    # A time far ahead is from a clock that was wrong. One machine's clock may be a little before another's.
    free = uses.filter(Q(used_until__lte=latest) | Q(used_until__gt=now + 2 * MINUTE))
    spent = {"used_until": Least(Greatest(F("used_until"), now), latest) + share}
    with unit_of_work():
        if free.update(**spent):
            return 0.0
        if not uses.exists():
            _make_row(user_id, limit)
            if free.update(**spent):
                return 0.0
        used_until = uses.values_list("used_until", flat=True).get()
    return max(used_until - latest, 0.001)


def _make_row(user_id: int, limit: str) -> None:
    LimitUse.objects.bulk_create([LimitUse(user_id=user_id, limit=limit)], ignore_conflicts=True)


def note_refusal(user_id: int, limit: str) -> None:
    """Record that the limit refused the user something; the log tells it once an hour. Not within a transaction."""
    try:
        if not _note(user_id, limit):
            return
        user = User.objects.filter(pk=user_id).values_list("username", flat=True).first()
        logger.warning("A person has reached a limit", extra={"limit": limit, "user": user})
    except DatabaseError as error:
        if noted_failure(error) is None:
            logger.warning("A refusal could not be recorded", extra={"limit": limit, "error": str(error)})


def _note(user_id: int, limit: str) -> bool:
    """Record it. Returns whether the log has to tell of it."""
    uses, now = LimitUse.objects.filter(user_id=user_id, limit=limit), timezone.now()
    if uses.filter(refused_at__gt=now - NOTE_INTERVAL).exists():
        return False  # without a write: who is refused asks often
    with unit_of_work():
        if not uses.update(refused_at=now):
            _make_row(user_id, limit)
            uses.update(refused_at=now)
        due = Q(logged_at=None) | Q(logged_at__lte=now - LOG_INTERVAL)
        return bool(uses.filter(due).update(logged_at=now))


def refused_lately(since: timedelta) -> QuerySet[LimitUse]:
    """Return the limits that refused somebody something within that time."""
    return LimitUse.objects.filter(refused_at__gt=timezone.now() - since)
