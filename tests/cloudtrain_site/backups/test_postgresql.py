"""PostgreSQL's dumps, which are read without a server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cloudtrain_site.backups.manifest import BackupError
from cloudtrain_site.backups.postgresql import PostgreSQL

SERVER = os.environ.get("DATABASE_URL", "")
pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.django_db]
STRANGE = "tab\t, line\n, back\\slash, \\N and ü"
TABLES = """
    CREATE TABLE django_migrations (app text, name text);
    INSERT INTO django_migrations VALUES ('jobs', '0001_initial'), ('jobs', '0002_more');
    CREATE TABLE jobs_job (id bigint GENERATED ALWAYS AS IDENTITY, sealed text, "order" text);
    CREATE TABLE queueing_queuestate (paused boolean);
    INSERT INTO queueing_queuestate VALUES (false);
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER refused BEFORE INSERT ON jobs_job EXECUTE FUNCTION refuse();
"""
PAUSE = ["UPDATE queueing_queuestate SET paused = true"]


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    name = f"backup_{secrets.token_hex(4)}"
    with closing(psycopg.connect(SERVER, autocommit=True)) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        address = conninfo_to_dict(SERVER) | {"dbname": name}
        database = PostgreSQL(address, str(address.pop("password", "")))
        with closing(connect(database)) as own:
            own.execute(TABLES)
            own.execute("INSERT INTO jobs_job (sealed, \"order\") VALUES (%s, ''), (NULL, '1')", [STRANGE])
        yield database
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def connect(database: PostgreSQL) -> psycopg.Connection:
    return psycopg.connect(**database.address, password=database.password, autocommit=True)


def rows(database: PostgreSQL, question: str) -> list[tuple[object, ...]]:
    with closing(connect(database)) as own:
        return own.execute(question.encode()).fetchall()


def test_a_dump_is_read_without_a_server_and_put_back(database: PostgreSQL, tmp_path: Path) -> None:
    snapshot = database.back_up(tmp_path / "dump")
    assert snapshot.counts == {"django_migrations": 2, "jobs_job": 2, "queueing_queuestate": 1}
    found: list[str] = []
    read = database.read(tmp_path / "dump", {"jobs_job": ["sealed"]}, found.append)
    assert (read.counts, read.migrations, found) == (snapshot.counts, {"jobs": "0002_more"}, [STRANGE])

    with closing(connect(database)) as own:
        own.execute("CREATE TABLE of_later (); CREATE VIEW seen AS TABLE jobs_job; DROP FUNCTION refuse CASCADE")
        # Many, of which each takes another with it.
        for number in range(70):
            own.execute(f"CREATE TABLE later_{number} (id serial)".encode())
        assert database.users() == [own.info.user]
    assert database.users() == []
    database.put_back(tmp_path / "dump", PAUSE, snapshot.server)
    assert rows(database, "SELECT paused FROM queueing_queuestate") == [(True,)]
    assert rows(database, "SELECT to_regclass('of_later'), to_regclass('seen')") == [(None, None)]
    assert rows(database, "INSERT INTO jobs_job (sealed) VALUES ('x') RETURNING id") == [(3,)]
    assert rows(database, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == [("refused",)]


def test_what_fails_half_way_changes_nothing(database: PostgreSQL, tmp_path: Path) -> None:
    snapshot = database.back_up(tmp_path / "dump")
    content = (tmp_path / "dump").read_bytes()
    (tmp_path / "torn").write_bytes(content[: -len(content) // 4])
    before = rows(database, "SELECT * FROM jobs_job")
    for dump, statements, server, why in (
        ("torn", PAUSE, snapshot.server, "is damaged"),
        ("dump", ["UPDATE not_there SET x = 1"], snapshot.server, "can't be put back"),
        ("dump", PAUSE, "99.1", "this server is older"),
    ):
        with pytest.raises(BackupError, match=why):
            database.put_back(tmp_path / dump, statements, server)
        assert rows(database, "SELECT * FROM jobs_job") == before
        assert rows(database, "SELECT paused FROM queueing_queuestate") == [(False,)]
    with pytest.raises(BackupError, match=r"damaged|failed"):
        database.read(tmp_path / "torn", {}, lambda text: None)


def test_the_password_is_on_no_command_line(
    database: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit\n'
        f'echo "$@" > {tmp_path}/line; echo "$PGPASSWORD" > {tmp_path}/password\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    PostgreSQL(database.address, "not-for-others").back_up(tmp_path / "dump")
    assert "not-for-others" not in (tmp_path / "line").read_text()
    assert (tmp_path / "password").read_text() == "not-for-others\n"


def test_programs_of_an_older_version_are_named(database: PostgreSQL) -> None:
    with pytest.raises(BackupError, match=r"but the server has 99: apt-get install postgresql-client-99"):
        database._program("pg_dump", 99)
