"""The database settings for each kind of process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudtrain_site.conf.environment import Environment
from cloudtrain_site.conf.web_processes import web_processes

SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA busy_timeout=10000;"
#: For PostgreSQL: seconds for a connection to be made, and milliseconds for the other machine to acknowledge what we
#: sent. Without them a machine that vanished is waited for, for minutes.
TIMEOUTS = {"connect_timeout": 3, "tcp_user_timeout": 10_000}
#: How many connections the pools of a machine's web processes have, together: PostgreSQL has 100 to give.
POOLED = 40


def database_settings(env: Environment, *, data_dir: Path, role: str) -> dict[str, Any]:
    """The DATABASES entry: `DATABASE_URL`, or a SQLite file in the data folder.

    `role` is "web" or "worker". Measured: a kept connection leaks under ASGI, and psycopg's pool does not
    survive the fork of django-q2's workers, so the web pools and the workers keep one connection each.
    """
    database: dict[str, Any] = env.database("DATABASE_URL", default=f"sqlite:///{data_dir / 'cloudtrain.sqlite3'}")
    if database["ENGINE"].endswith("sqlite3"):
        # IMMEDIATE: a transaction that reads before it writes would otherwise fail with "database is locked".
        database["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "init_command": SQLITE_PRAGMAS}
        database["CONN_MAX_AGE"] = 0 if role == "web" else 60
        if role == "web":
            database["ENGINE"] = "cloudtrain_site.database.sqlite3"
        return database
    database["ENGINE"] = "cloudtrain_site.database.postgresql"
    database["OPTIONS"] = {**TIMEOUTS, **database.get("OPTIONS", {})}
    if role == "web":
        # Each `max_idle` seconds the pool closes one connection that nobody needed in them: after a burst, as when a
        # thousand browsers connect, it is down to its two within four seconds.
        # `timeout` is a slice of the wait, and `reconnect_timeout` 0 gives up after a second failure to connect: then
        # the backend's `outage` begins.
        database["OPTIONS"]["pool"] = {
            "min_size": 2,
            "max_size": min(10, max(4, POOLED // web_processes(env, database["ENGINE"]))),
            "max_idle": 0.5,
            "timeout": 0.5,
            "reconnect_timeout": 0.0,
            "reconnect_failed": _begin_outage,
        }
        database["CONN_MAX_AGE"] = 0
        # Named for a forked process, which puts these settings over those of its parent: the pool of
        # `database/postgresql/` finds dead connections without a round trip.
        database.setdefault("CONN_HEALTH_CHECKS", False)
    else:
        database["CONN_MAX_AGE"] = 60
        database["CONN_HEALTH_CHECKS"] = True
    return database


def _begin_outage(pool: Any) -> None:
    from cloudtrain_site.database.postgresql.base import outage  # imports Django's backends, which read the settings

    outage.begin(pool)
