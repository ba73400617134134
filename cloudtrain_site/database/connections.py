"""Where the database is, and what becomes of a thread's connection while it waits for something else or is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import connection

from cloudtrain_site.database.failures import is_lost_connection

logger = logging.getLogger("simpletuner.cloud.background")

T = TypeVar("T")

#: A restart of the database takes a second or two. Well below a worker's time limit.
REPEAT_SECONDS = 8.0
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5


def place_of_database() -> str:
    """Return where the database is, as an operator knows it: a file, or a name and a host."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(database["NAME"])
    return f"{database['NAME']} on {database['HOST'] or 'this machine'}"


def lend_connection() -> None:
    """Give this thread's connection back to the pool; its next query takes one again.

    For the moment before a wait for the network. The web process has ten connections: ten requests that wait for a
    hanging provider would otherwise keep all other requests from being answered. Does nothing without a pool or within
    a transaction.
    """
    if connection.settings_dict.get("OPTIONS", {}).get("pool") and not connection.in_atomic_block:
        connection.close()


def repeat_when_lost(work: Callable[[], T]) -> T:
    """Return `work()`; when the connection is lost, call it again on a new one, for up to REPEAT_SECONDS.

    For work that must not wait for somebody to come back to it. It must be safe to repeat, since a connection that is
    lost during a commit doesn't tell whether that counted. Within a transaction nothing is repeated: what came before
    would be missing.
    """
    deadline, pause = time.monotonic() + REPEAT_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return work()
        except Exception as error:
            if connection.in_atomic_block or not is_lost_connection(error) or time.monotonic() + pause > deadline:
                raise
            logger.warning("Connection to the database lost; trying again", extra={"error": str(error)})
        connection.close()
        time.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)
