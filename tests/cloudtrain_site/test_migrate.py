"""`manage.py migrate` beside a running site on PostgreSQL."""

from __future__ import annotations

from io import StringIO
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands.migrate import Command
from django.db import OperationalError, connection, transaction

from cloudtrain_site.events.pg_listen import conninfo
from cloudtrain_site.management.commands import migrate

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def migrate_and_disconnect() -> None:
    call_command("migrate", stdout=StringIO())
    connection.close()


def test_a_migration_that_waits_for_a_table_gives_way_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries, applied = [], Event()

    def handle(self: Any, **options: Any) -> None:
        tries.append(1)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE jobs_job")
        applied.set()

    monkeypatch.setattr(Command, "handle", handle)
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 1)
    monkeypatch.setattr(migrate, "PAUSE_SECONDS", 0.01)
    with psycopg.connect(**conninfo()) as reader:
        reader.execute("SELECT 1 FROM jobs_job")
        waiting = Thread(target=migrate_and_disconnect)
        waiting.start()
        assert not applied.wait(0.3)
    waiting.join(20)
    assert applied.is_set()
    assert len(tries) > 2


def test_one_that_gets_no_lock_for_long_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(self: Any, **options: Any) -> None:
        raise OperationalError from psycopg.errors.LockNotAvailable()

    monkeypatch.setattr(Command, "handle", handle)
    monkeypatch.setattr(migrate, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(CommandError, match="pg_stat_activity"):
        call_command("migrate")
