"""PostgreSQL's notices of new events. Loaded for PostgreSQL alone: psycopg is 9 MB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
from django.db import connection

from cloudtrain_site.events.publish import NOTIFY_CHANNEL

#: What a connection fails with.
FAILURES = (psycopg.Error, OSError)


async def notices() -> AsyncIterator[None]:
    """Once as soon as they are heard, since what was stored before that was told to nobody; then with each one."""
    link = await psycopg.AsyncConnection.connect(**conninfo(), autocommit=True)
    try:
        await link.execute(f"LISTEN {NOTIFY_CHANNEL}")
        yield
        async for _ in link.notifies():
            yield
    finally:
        # Not `async with`: that rolls back first, and a loop that ends cancels it there, with the connection open.
        await link.close()


def conninfo() -> dict[str, Any]:
    """What libpq needs to know, out of what Django passes to its own connections."""
    options = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    return {name: value for name, value in connection.get_connection_params().items() if name in options}
