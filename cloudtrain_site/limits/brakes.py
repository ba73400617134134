"""Growing pauses after attempts that failed: wrong passwords, keys and links. The database counts for all processes.

An attempt counts as failed from its beginning and is taken back when it succeeds: a thousand that begin at once find
one another's marks, and no two take the same place.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from rest_framework import exceptions, status
from rest_framework.request import Request

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.models import Brake

logger = logging.getLogger("simpletuner.cloud.http")

#: The longest pause. Without new failures one is forgotten in the same time, so that an attack that never ends gets
#: four attempts an hour.
LONGEST_SECONDS = 900.0
#: A pause that is further ahead is from a clock that was wrong.
_IMPOSSIBLE_SECONDS = 2 * LONGEST_SECONDS
#: After this nothing is left to forget of a row.
FORGOTTEN_SECONDS = 86_400.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of attempt, counted by itself.

    The failure number `free` begins a pause of a second, and each further one doubles it.
    """

    name: str
    free: int

    def key(self, whose: str) -> Key:
        digest = salted_hmac("cloudtrain.brakes", f"{self.name}:{whose}", algorithm="sha256").hexdigest()
        return Key(self, f"{self.name}:{digest}")


@dataclass(frozen=True, slots=True)
class Key:
    kind: Kind
    name: str


#: Sign-ins, by what was typed for a name, and by the address that they come from.
ACCOUNT = Kind("account", 5)
ADDRESS = Kind("address", 20)
#: Sign-ins from a browser in which the person has signed in before: nobody else's failures stop those.
BROWSER = Kind("browser", 10)
#: The old password on the page that changes it, and a second look at who it is.
OWN_PASSWORD = Kind("own password", 5)
#: Mails that were asked for, by the address that they go to and the one that asks.
MAIL = Kind("mail", 3)
MAIL_SENDER = Kind("mail sender", 10)
#: Links of mails, and API keys, by the address that they come from.
LINK = Kind("link", 20)
API_KEY = Kind("api key", 20)


class PausedError(exceptions.APIException):
    """Too many attempts failed. `Retry-After` says when the next one is possible."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "too_many_attempts"

    def __init__(self, wait: int) -> None:
        unit = "second" if wait == 1 else "seconds"
        super().__init__(f"There were too many attempts. Try again in {wait} {unit}.")
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that counts as failed for each of its keys."""

    began_at: float
    #: By kind, this attempt among them.
    failures: Mapping[str, int]
    keys: tuple[Key, ...]
    #: The pause that it began; 0: none.
    pause: float

    def succeeded(self) -> None:
        """Take it back."""
        names = [key.name for key in self.keys]
        with unit_of_work():
            mine = Brake.objects.filter(key__in=names)
            mine.filter(failed_at=self.began_at).update(paused_until=0.0)
            mine.update(failures=Greatest(F("failures") - 1.0, 0.0))

    def failed(self, message: str, **fields: Any) -> None:
        """Log that it stays failed, with the counts."""
        counts = {f"failures_of_{name.replace(' ', '_')}": count for name, count in self.failures.items()}
        logger.warning(message, extra={**fields, **counts, "pause_seconds": round(self.pause)})


def begin(*keys: Key) -> Attempt:
    """Count an attempt for each key at once. Raises PausedError, and counts nothing, while one of them has a pause."""
    for _ in range(_TRIES):
        now = time.time()
        rows = {row.key: row for row in Brake.objects.filter(key__in=[key.name for key in keys])}
        _check_pauses(keys, rows, now)
        attempt = _take(keys, rows, now)
        if attempt is not None:
            return attempt
    raise PausedError(1)  # so many others at this moment that it is none of a person's own


def _check_pauses(keys: tuple[Key, ...], rows: Mapping[str, Brake], now: float) -> None:
    paused = [(rows[key.name].paused_until - now, key) for key in keys if key.name in rows]
    wait, key = max(paused, default=(0.0, None), key=lambda pair: pair[0])
    if key is not None and 0.0 < wait < _IMPOSSIBLE_SECONDS:
        _log_once(key, rows[key.name])
        raise PausedError(math.ceil(wait))


class _LostError(Exception):
    """Another attempt has changed a row since it was read."""


def _take(keys: tuple[Key, ...], rows: Mapping[str, Brake], now: float) -> Attempt | None:
    """Count the attempt in rows that are still as they were read; None: one is not."""
    failures, longest = {}, 0.0
    missing = [Brake(key=key.name) for key in keys if key.name not in rows]
    try:
        with unit_of_work():
            Brake.objects.bulk_create(missing, ignore_conflicts=True)
            for key in sorted(keys, key=lambda key: key.name):
                row = rows.get(key.name, Brake())
                count = _left(row, now) + 1.0
                pause = _pause(key.kind, count)
                new = {"failures": count, "failed_at": now, "paused_until": now + pause if pause else 0.0}
                as_read = Brake.objects.filter(pk=key.name, failures=row.failures, failed_at=row.failed_at)
                if not as_read.update(**new):
                    raise _LostError
                failures[key.kind.name] = math.ceil(count)
                longest = max(longest, pause)
    except _LostError:
        return None
    return Attempt(now, failures, keys, longest)


def _left(row: Brake, now: float) -> float:
    """Return the failures that are not forgotten yet."""
    return max(0.0, row.failures - max(0.0, now - row.failed_at) / LONGEST_SECONDS)


def _pause(kind: Kind, failures: float) -> float:
    over = math.ceil(failures) - kind.free
    return 0.0 if over < 0 else min(2.0**over, LONGEST_SECONDS)


#: By key, the end of the pause that was logged: each is logged once by a process.
_logged: dict[str, float] = {}


def _log_once(key: Key, row: Brake) -> None:
    if _logged.get(key.name) == row.paused_until:
        return
    if len(_logged) > 1000:
        _logged.clear()
    _logged[key.name] = row.paused_until
    logger.warning("Attempts are refused", extra={"kind": key.kind.name, "failures": math.ceil(row.failures)})


def address_of(request: HttpRequest | Request) -> str:
    """Return the address that the request comes from; of IPv6 the network of one customer."""
    text = str(request.META.get("REMOTE_ADDR", ""))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text  # a socket's has none
    return text if address.version == 4 else str(ipaddress.ip_network((text, 64), strict=False).network_address)


def forgotten() -> QuerySet[Brake]:
    """Return the rows of which nothing is left to forget."""
    return Brake.objects.filter(failed_at__lt=time.time() - FORGOTTEN_SECONDS)
