"""Release of a database connection during a wait for something else."""

from __future__ import annotations

from django.db import connection


def lend_connection() -> None:
    """Give this thread's connection back to the pool; its next query takes one again.

    For the moment before a wait for the network. The web process has ten connections: ten requests that wait for a
    hanging provider would otherwise keep all other requests from being answered. Does nothing without a pool or within
    a transaction.
    """
    if connection.settings_dict.get("OPTIONS", {}).get("pool") and not connection.in_atomic_block:
        connection.close()
