"""The check that what one process stores reaches the streams of another."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection

from cloudtrain_site.doctor.findings import Finding, ok, skipped, warn
from cloudtrain_site.events.publish import NOTIFY_CHANNEL
from cloudtrain_site.events.relay import LISTENING_POLL_SECONDS
from cloudtrain_site.monitoring.process_heartbeats import WEB, living_processes

NOTICE_SECONDS = 2.0


def reach_streams() -> Iterator[Finding]:
    """Check that web processes read this database, and with PostgreSQL that its notices come."""
    web = living_processes(WEB).count()
    if not web:
        yield skipped("No web process with this database is running.")
        return
    if connection.vendor != "postgresql":
        yield ok(f"{web} web process{'es' if web > 1 else ''} read this database.")
        return
    if _is_notice_heard():
        yield ok("PostgreSQL passes events on at once.")
    else:
        yield warn(
            f"PostgreSQL's notifications don't arrive: pages show changes up to {LISTENING_POLL_SECONDS:g} s late.",
            "Connect to PostgreSQL directly in DATABASE_URL, or set pool_mode = session in pgbouncer.ini",
        )


def _is_notice_heard() -> bool:
    """Send a notice, which makes the relays look for events, and hear it on another connection."""
    import psycopg  # 9 MB, which SQLite doesn't need

    from cloudtrain_site.events.pg_listen import conninfo

    with (
        psycopg.connect(**conninfo(), autocommit=True) as link,
        psycopg.connect(**conninfo(), autocommit=True) as other,
    ):
        link.execute(f"LISTEN {NOTIFY_CHANNEL}")
        other.execute("SELECT pg_notify(%s, '')", [NOTIFY_CHANNEL])
        return any(True for _ in link.notifies(timeout=NOTICE_SECONDS, stop_after=1))
