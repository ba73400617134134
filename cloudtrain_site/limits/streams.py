"""How many event streams each person has open: exactly on this machine, and as last told by the other ones.

A process knows its own streams at no cost. Web processes of one machine lock a byte of a shared file for each, and no
two lock the same one. They write their numbers into the database within a second of a change, for other machines. So
what other machines opened within the last second is not known, and one person can exceed the limit by what they open
at several of them at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from typing import Protocol
from weakref import ref

from django.db.models import QuerySet
from django.utils import timezone

from cloudtrain_site.database.prepared import Prepared
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
#: Among the bytes of the shared file each person has as many as the highest limit.
PLACES_OF_ONE = 1 << 20


class Stream(Protocol):
    user_id: int


#: By user and number of the place. A stream that is promised and never sent leaves a dead reference.
_open: dict[int, dict[int, ref[Stream]]] = {}
_process = secrets.token_hex(4)
#: The processes that lock the same file; by itself a process is its own group.
_group = _process
_shared_file: int | None = None
_numbers = count(1)
#: Held while places are counted: streams are admitted in many threads, and end in the event loop. Reentrant, since
#: Python's collector may end a forgotten stream at any moment, also within the count.
_counting = threading.RLock()


def _begin() -> None:
    """A forked process is one of its own."""
    global _process, _group
    _process = _group = secrets.token_hex(4)


os.register_at_fork(after_in_child=_begin)


def share_places(descriptor: int, group: str) -> None:
    """Count with all processes of the group, which have the same file open. It must never be closed."""
    global _shared_file, _group
    _shared_file, _group = descriptor, group


def hold_place(stream: Stream, elsewhere: int) -> None:
    """Count the stream from now on, or raise LimitReachedError. `elsewhere`: those of its user on other machines."""
    allowed = config_in_force().limits.streams
    with _counting:
        _drop_dead(stream.user_id)
        held = _open.get(stream.user_id, {})
        place = _take_place(stream.user_id, allowed - elsewhere, held)
        if place is not None:
            held[place] = ref(stream)
            _open[stream.user_id] = held
    if place is None:
        streams = "1 event stream" if allowed == 1 else f"{allowed} event streams"
        detail = f"You have {streams} open, the maximum per user. Close a browser or a program that follows events."
        raise LimitReachedError(LIMIT, stream.user_id, detail, wait=RETRY_AFTER_SECONDS)


def _take_place(user_id: int, places: int, ours: Collection[int]) -> int | None:
    """Lock a place that neither this process nor another of its group has; None: they are all taken."""
    if len(ours) >= places:
        return None
    free = (number for number in range(places) if number not in ours)
    return next((number for number in free if _lock(_byte(user_id, number))), None)


def _drop_dead(user_id: int, leaving: Stream | None = None) -> None:
    """Give back the places of streams that are gone, and of the one that is leaving."""
    held = _open.get(user_id, {})
    for number, reference in list(held.items()):
        stream = reference()
        if stream is None or stream is leaving:
            del held[number]
            if _shared_file is not None:
                fcntl.lockf(_shared_file, fcntl.LOCK_UN, 1, _byte(user_id, number))
    if not held:
        _open.pop(user_id, None)


def _lock(byte: int) -> bool:
    """Lock the byte. False: another process has it. Without a shared file there is no other process."""
    if _shared_file is None:
        return True
    try:
        fcntl.lockf(_shared_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _byte(user_id: int, number: int) -> int:
    return user_id * PLACES_OF_ONE + number


def give_up_place(stream: Stream) -> None:
    """Count the stream no more. It need not have been counted."""
    with _counting:
        _drop_dead(stream.user_id, leaving=stream)


def open_here() -> dict[str, int]:
    """Return by the user's id how many streams this process has."""
    with _counting:
        for user in list(_open):
            _drop_dead(user)
        return {str(user): len(held) for user, held in _open.items()}


def open_elsewhere() -> Counter[int]:
    """Return how many streams each user has at other machines, as far as they have told."""
    return _total(_told_by_others(_group)(timezone.now() - SILENCE))


@cache
def _told_by_others(group: str) -> Prepared[dict[str, int]]:
    return Prepared(
        lambda since: _told_since(since).exclude(process__startswith=group).values_list("by_user", flat=True)
    )


def open_by_user() -> Counter[int]:
    """Return how many streams each user has, as far as the processes have told."""
    return _total(_told_since(timezone.now() - SILENCE).values_list("by_user", flat=True))


def _total(told: Iterable[dict[str, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for by_user in told:
        total.update({int(user): number for user, number in by_user.items()})
    return total


def _told_since(moment: datetime) -> QuerySet[StreamCount]:
    return StreamCount.objects.filter(told_at__gt=moment)


def new_name() -> str:
    """Return a name under which one event loop of this process publishes its numbers."""
    return f"{_group}-{_process}-{next(_numbers)}"


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
