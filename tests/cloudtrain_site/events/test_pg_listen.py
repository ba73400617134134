"""The connection that hears PostgreSQL's notices is closed however its listener ends."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from django.db import connection

from tests.cloudtrain_site.stream_client import publish_one, run, until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Only PostgreSQL has notices"),
]


def _open_links() -> list[Any]:
    import psycopg

    # Not `isinstance`, which asks what a weak reference refers to, and others' may be gone.
    return [link for link in gc.get_objects() if type(link) is psycopg.AsyncConnection and not link.closed]


def test_a_listener_cancelled_twice_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    from psycopg import waiting

    from cloudtrain_site.events.pg_listen import notices

    of_others = _open_links()
    monkeypatch.setattr(waiting, "MAX_BUSY_TIME", 0.0)  # as in a busy loop: each statement lets the others work

    async def scene() -> None:
        heard: list[None] = []

        async def listen() -> None:
            async for notice in notices():
                heard.append(notice)

        listener = asyncio.create_task(listen())
        await until(lambda: heard)
        await publish_one("everyone")
        await until(lambda: len(heard) > 1)
        assert [link for link in _open_links() if link not in of_others]

        listener.cancel()
        await asyncio.sleep(0)  # it begins to close
        listener.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listener
        assert not [link for link in _open_links() if link not in of_others]

    run(scene)
