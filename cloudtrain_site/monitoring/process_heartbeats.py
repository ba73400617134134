"""The heartbeat of each web and background process: on which machine it runs, with which code and clock.

A process writes one row, and renews it with one UPDATE every HEARTBEAT_SECONDS.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

import cloudtrain_site
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.models import SiteProcess

logger = logging.getLogger("simpletuner.cloud.background")

WEB, BACKGROUND = "web", "background"
HEARTBEAT_SECONDS = 15.0
END_SECONDS = 1.0
#: Three missed heartbeats, and some patience.
SILENT_AFTER = timedelta(seconds=60)
#: How long the row of a process that did not end in order is kept.
RETENTION = timedelta(days=1)

MACHINE = socket.gethostname()[:100]
_process = secrets.token_hex(8)
_started_at = timezone.now()


def _begin() -> None:
    """A forked process is one of its own."""
    global _process, _started_at
    _process, _started_at = secrets.token_hex(8), timezone.now()


os.register_at_fork(after_in_child=_begin)


@cache
def code_fingerprint() -> str:
    """Return a fingerprint of our rooms' source files, as they are at the first call (370 files: 9 ms)."""
    root = Path(cloudtrain_site.__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for room in sorted({app.partition(".")[0] for app in settings.OWN_APPS}):
        for path in sorted((root / room).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def key_digest() -> str:
    """Return a digest of SECRET_KEY, from which nobody learns a key that is long enough."""
    return salted_hmac("cloudtrain.machines", "", algorithm="sha256").hexdigest()[:12]


def database_time() -> datetime:
    """Return the time by the database's clock: with SQLite that of this machine."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def clock_offset() -> float | None:
    """Return how far this machine's clock is ahead of the database's, in seconds; None: it is the same clock.

    Right to within half of the time that the question takes.
    """
    if connection.vendor != "postgresql":
        return None
    connection.ensure_connection()
    before = time.time()
    there = database_time().timestamp()
    return round((before + time.time()) / 2 - there, 3)


def send_heartbeat(role: str) -> None:
    """Write this process's heartbeat, and delete the rows of silent processes that it has replaced."""
    key, offset = process_key(role), clock_offset()
    if not SiteProcess.objects.filter(pk=key).update(seen_at=Now(), clock_offset_seconds=offset):
        SiteProcess.objects.create(
            id=key,
            machine=MACHINE,
            role=role,
            pid=os.getpid(),
            version=cloudtrain_site.__version__,
            code=code_fingerprint(),
            started_at=_started_at,
            seen_at=Now(),
            clock_offset_seconds=offset,
            key_digest=key_digest(),
        )
    silent = SiteProcess.objects.filter(machine=MACHINE, role=role, seen_at__lt=database_time() - SILENT_AFTER)
    if silent.exists():
        silent.delete()


def living_processes(role: str | None = None) -> QuerySet[SiteProcess]:
    """Return the processes that have lately sent a heartbeat: all, or those of a role."""
    living = SiteProcess.objects.filter(seen_at__gt=database_time() - SILENT_AFTER)
    return living if role is None else living.filter(role=role)


def delete_old() -> int:
    """Delete the rows of processes that have been silent for a day. Returns how many."""
    return SiteProcess.objects.filter(seen_at__lt=database_time() - RETENTION).delete()[0]


def process_key(role: str) -> str:
    """Return the key of this process's row."""
    return f"{_process}-{role}"


class Heartbeat:
    """Sends this process's heartbeats from a thread, until `end`."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Remove the process's row, within a second: without a database it stays, and gets old."""
        self._stop.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        failed = False
        while not self._stop.is_set():
            with correlation():
                failed = not self._send(was_failing=failed)
            self._stop.wait(HEARTBEAT_SECONDS)
        with suppress(Error):
            SiteProcess.objects.filter(pk=process_key(self.role)).delete()
        connection.close()

    def _send(self, *, was_failing: bool) -> bool:
        try:
            send_heartbeat(self.role)
        except Exception:  # the thread must go on: the database comes back
            level = logging.DEBUG if was_failing else logging.WARNING
            logger.log(level, "Heartbeat could not be written", exc_info=True, extra={"role": self.role})
            return False
        finally:
            connection.close()  # the thread needs none until the next time
        return True
