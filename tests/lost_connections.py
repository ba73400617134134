"""Connections to PostgreSQL that are cut, as a restart or an operator cuts them."""

from __future__ import annotations

import psycopg
from django.db import connection


def own_backend() -> int:
    """The number of this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def cut_connection(backend: int) -> None:
    """End one, which its thread learns with its next statement."""
    assert _cut("pid = %s", backend) == 1


def cut_all_but(backend: int) -> int:
    """End all others to the tests' database; returns how many."""
    return _cut("pid <> %s", backend)


def _cut(condition: str, backend: int) -> int:
    database = connection.settings_dict
    server = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"], "dbname": "postgres"}
    sql = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND {condition}"
    with psycopg.connect(**server, autocommit=True) as admin:
        return sum(ended for (ended,) in admin.execute(sql, [database["NAME"], backend]))
