"""Database connections while somebody else is waited for."""

from __future__ import annotations

from django.db import connection


def lend_connection() -> None:
    """Give this thread's connection back to the pool; its next query takes one again.

    To be called before a wait for the network. The web process has ten connections: ten requests that wait for a
    provider which hangs would otherwise keep everybody else from being answered. Without a pool, and within a
    transaction, nothing is done.
    """
    if connection.settings_dict.get("OPTIONS", {}).get("pool") and not connection.in_atomic_block:
        connection.close()
