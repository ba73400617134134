"""How many event streams each person has open: exactly in this process, and as last told by the other ones.

A process knows its own streams at no cost, and writes their numbers into the database within a second of a change. So
what other processes opened within the last second is not known, and one person can exceed the limit by what they open
at several processes at once.
"""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from datetime import timedelta
from itertools import count
from typing import Protocol
from weakref import WeakSet

from django.db.models import QuerySet
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.models import StreamCount

LIMIT = "streams"
#: A browser that was refused asks again after this long.
RETRY_AFTER_SECONDS = 60
#: A change of the numbers is published within CHECK_SECONDS, the numbers as they are every REPEAT_SECONDS.
CHECK_SECONDS = 1.0
REPEAT_SECONDS = 20.0
#: A process that said nothing for this long is dead.
SILENCE = timedelta(seconds=3 * REPEAT_SECONDS)


class Stream(Protocol):
    user_id: int


#: One that is promised and never sent is gone with its last reference, so that nothing has to take it back.
_open: dict[int, WeakSet[Stream]] = {}
_process = secrets.token_hex(8)
_numbers = count(1)


def hold_place(stream: Stream, elsewhere: int) -> None:
    """Count the stream from now on, or raise LimitReachedError. `elsewhere`: those of its user in other processes.

    To be called in the event loop, where nothing comes between the look and the count.
    """
    allowed = config_in_force().limits.streams
    held = _open.setdefault(stream.user_id, WeakSet())
    if len(held) + elsewhere >= allowed:
        streams = "1 event stream" if allowed == 1 else f"{allowed} event streams"
        detail = f"You have {streams} open, the most for one person. Close a browser or a program that follows events."
        raise LimitReachedError(LIMIT, stream.user_id, detail, wait=RETRY_AFTER_SECONDS)
    held.add(stream)


def give_up_place(stream: Stream) -> None:
    """Count the stream no more. It need not have been counted."""
    held = _open.get(stream.user_id)
    if held is not None:
        held.discard(stream)
        if not held:
            _open.pop(stream.user_id, None)


def open_here() -> dict[str, int]:
    """Return by the user's id how many streams this process has."""
    return {str(user): len(held) for user, held in list(_open.items()) if held}


def open_elsewhere(user_id: int) -> int:
    """Return how many streams of the user other processes have, as far as they have told."""
    others = _living().exclude(process__startswith=_process).values_list("by_user", flat=True)
    return sum(by_user.get(str(user_id), 0) for by_user in others)


def open_by_user() -> Counter[int]:
    """Return how many streams each user has, as far as the processes have told."""
    total: Counter[int] = Counter()
    for by_user in _living().values_list("by_user", flat=True):
        total.update({int(user): number for user, number in by_user.items()})
    return total


def _living() -> QuerySet[StreamCount]:
    return StreamCount.objects.filter(told_at__gt=timezone.now() - SILENCE)


def new_name() -> str:
    """Return a name under which one event loop of this process publishes its numbers."""
    return f"{_process}-{next(_numbers)}"


def publish_counts(name: str, by_user: dict[str, int]) -> None:
    """Write what is open here, for the other processes, and forget those that died."""
    now = timezone.now()
    with unit_of_work():
        StreamCount.objects.filter(told_at__lte=now - SILENCE).delete()
        columns = {"machine": socket.gethostname()[:100], "by_user": by_user, "told_at": now}
        StreamCount.objects.update_or_create(process=name, defaults=columns)


def remove_counts(name: str) -> None:
    """Write that nothing is open here any more."""
    StreamCount.objects.filter(process=name).delete()
