"""`manage.py migrate`, Django's own, which on PostgreSQL lets the requests of a running site go first."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connections

#: Less than PostgreSQL's deadlock_timeout of a second: of a migration and a request that wait for each other, the
#: request would be ended otherwise, and its client get a 500. What waits behind a migration waits no longer either.
LOCK_TIMEOUT_MS = 500
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 600.0


class Command(migrate.Command):
    """Applies migrations; one that can't get its locks is undone by the database, and tried again."""

    help = "Apply migrations. On PostgreSQL the site can keep running."

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError when a migration gets its locks at no time."""
        connection = connections[options["database"]]
        if connection.vendor != "postgresql":
            super().handle(*args, **options)
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [str(LOCK_TIMEOUT_MS)])
        try:
            while not self._applies(deadline, *args, **options):
                time.sleep(PAUSE_SECONDS)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")

    def _applies(self, deadline: float, *args: Any, **options: Any) -> bool:
        """Whether nothing is left to apply. False: a lock was not to be had."""
        try:
            super().handle(*args, **options)
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
            if time.monotonic() > deadline:
                raise CommandError(
                    f"A migration got no lock within {PATIENCE_SECONDS / 60:.0f} minutes, because something holds a "
                    "table for long: see pg_stat_activity. What was applied stays; start migrate again."
                ) from error
            return False
        return True
