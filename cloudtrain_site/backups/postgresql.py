"""Backups of a PostgreSQL database, by pg_dump and pg_restore. The password is in their environment alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cloudtrain_site.backups.databases import MIGRATIONS, SealedColumns, Snapshot
from cloudtrain_site.backups.manifest import BackupError
from cloudtrain_site.events.pg_listen import conninfo

#: Where Debian has the programs of each major version.
DEBIAN = Path("/usr/lib/postgresql")
COPY = re.compile(rb'COPY (?:"?[^". ]+"?\.)?"?([^". ]+)"? \((.*)\) FROM stdin;\n')
ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
TABLES = """
    SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e') ORDER BY relname
"""
OTHERS = """
    SELECT coalesce(nullif(application_name, ''), usename, 'somebody') FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
#: A session ends a moment after its process.
FAREWELL_SECONDS = 2.0
#: In one transaction: whatever ends it early leaves the database as it was.
BEGIN = """
BEGIN;
SET LOCAL lock_timeout = '10s';
DO $$
DECLARE
    one text;
    -- Named before the first is dropped: what goes with another loses its name.
    all_of_them text[] := ARRAY(
        SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind
            WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
            oid::regclass)
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relnamespace = current_schema()::regnamespace
        AND NOT EXISTS (  -- a column's own sequence goes with its table
            SELECT 1 FROM pg_depend WHERE objid = pg_class.oid
            AND (deptype = 'e' OR relkind = 'S' AND deptype IN ('a', 'i')))
        UNION ALL
        SELECT format('DROP FUNCTION IF EXISTS %s CASCADE', oid::regprocedure)
        FROM pg_proc WHERE prokind = 'f' AND pronamespace = current_schema()::regnamespace
        AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e'));
BEGIN
    FOREACH one IN ARRAY all_of_them LOOP
        EXECUTE one;
    END LOOP;
END $$;
"""


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    #: What a connection needs, without the password.
    address: dict[str, Any]
    password: str
    vendor: str = "postgresql"

    @classmethod
    def of_settings(cls) -> Self:
        parameters = conninfo()
        return cls(parameters, str(parameters.pop("password", "")))

    @property
    def file(self) -> None:
        return None

    def size(self) -> int:
        with self._connected() as server:
            return int(_one(server, "SELECT pg_database_size(current_database())"))

    def back_up(self, target: Path) -> Snapshot:
        with self._connected() as server:
            server.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            exported, schema = _one(server, "SELECT pg_export_snapshot()"), _one(server, "SELECT current_schema()")
            snapshot = _snapshot(server)
            options = ["--format=custom", "--no-owner", "--no-acl", f"--snapshot={exported}", f"--file={target}"]
            self._run("pg_dump", server.info.server_version // 10_000, *options, f'--schema="{schema}"')
        return snapshot

    def read(self, backup: Path, columns: SealedColumns, take: Callable[[str], None]) -> Snapshot:
        migrations: dict[str, str] = {}
        counts = self._list_tables(backup)
        with self._script(backup, "--data-only") as (script, _):
            for table, row in _rows(script):
                counts[table] += 1
                if table == "django_migrations":
                    migrations[row["app"]] = max(migrations.get(row["app"], ""), row["name"])
                for name in columns.get(table, ()):
                    if text := row.get(name):
                        take(text)
        return Snapshot("", migrations, counts)

    def has_content(self) -> bool:
        with self._connected() as server:
            return bool(server.execute(TABLES).fetchall())

    def users(self) -> Sequence[str]:
        deadline = time.monotonic() + FAREWELL_SECONDS
        with self._connected() as server:
            while (others := server.execute(OTHERS).fetchall()) and time.monotonic() < deadline:
                time.sleep(0.1)
        return [str(name) for (name,) in others]

    def put_back(self, backup: Path, statements: Sequence[str], server_of_backup: str) -> None:
        """Replace the database's content in one transaction. Raises BackupError, and then nothing has changed."""
        with self._connected() as server:
            version = server.info.server_version // 10_000
            schema = str(_one(server, "SELECT current_schema()"))
            if int(server_of_backup.partition(".")[0]) > version:
                raise BackupError(
                    f"The backup is of PostgreSQL {server_of_backup}, and this server is older: {version}."
                )
        psql = [self._program("psql", version), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        command = [*psql, f"--dbname={make_conninfo(**self.address)}"]
        with (
            self._script(backup, f"--schema={schema}", "--no-owner", "--no-acl") as (script, dump),
            subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
                command,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            ) as client,
        ):
            assert client.stdin is not None
            try:
                client.stdin.write(BEGIN.encode())
                shutil.copyfileobj(script, client.stdin, 1 << 20)
                # Not by psql's own --single-transaction: it would commit what a dump that ends early has sent.
                if dump.wait() == 0:
                    path = sql.SQL("SET search_path = {};").format(sql.Identifier(schema)).as_string()
                    client.stdin.write("\n".join(["", path, *(f"{one};" for one in statements), "COMMIT;\n"]).encode())
                client.stdin.close()
            except BrokenPipeError:
                pass  # psql has said why
            client.stdin = None
            _, errors = client.communicate()
            if client.returncode:
                raise BackupError(f"The database can't be put back: {_reason(errors)}")

    def _list_tables(self, backup: Path) -> dict[str, int]:
        listing = self._run("pg_restore", 0, "--list", str(backup), connect=False).decode()
        return dict.fromkeys(re.findall(r"^\d+; \d+ \d+ TABLE DATA \S+ (\S+) ", listing, re.M), 0)

    @contextmanager
    def _script(self, backup: Path, *options: str) -> Iterator[tuple[IO[bytes], subprocess.Popen[bytes]]]:
        """Have pg_restore write a backup as a script. Raises BackupError at the end unless it read all of it."""
        command = [self._program("pg_restore", 0), "--file=-", *options, str(backup)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None
            try:
                yield process.stdout, process
            except BaseException:
                process.kill()
                raise
            process.stdout.close()
            errors = process.stderr.read() if process.stderr else b""
        if process.returncode:
            raise BackupError(f"The database in the backup is damaged: {_reason(errors)}")

    def _run(self, name: str, version: int, *options: str, connect: bool = True) -> bytes:
        place = [f"--dbname={make_conninfo(**self.address)}"] if connect else []
        command = [self._program(name, version), *options, *place]
        done = subprocess.run(command, env=self._environment(), capture_output=True)  # noqa: S603
        if done.returncode:
            raise BackupError(f"{name} failed: {_reason(done.stderr)}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PGPASSWORD": self.password} if self.password else dict(os.environ)

    def _program(self, name: str, version: int) -> str:
        """Return the newest there is. Raises BackupError when none is of the server's version or a newer one."""
        found = [shutil.which(name), *map(str, DEBIAN.glob(f"*/bin/{name}"))]
        programs = {_version_of(path): path for path in found if path}
        if not programs:
            raise BackupError(f"{name} is not on this machine: apt-get install postgresql-client")
        newest = max(programs)
        if newest < version:
            raise BackupError(
                f"{name} has version {newest}, but the server has {version}: "
                f"apt-get install postgresql-client-{version}"
            )
        return programs[newest]

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        try:
            with psycopg.connect(**self.address, password=self.password, autocommit=True) as server:
                yield server
        except psycopg.Error as error:
            raise BackupError(f"The database can't be used: {_reason(str(error).encode())}") from error


def _one(server: psycopg.Connection[tuple[Any, ...]], question: str) -> Any:
    row = server.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


def _snapshot(server: psycopg.Connection[tuple[Any, ...]]) -> Snapshot:
    counts = {}
    for (table,) in server.execute(TABLES).fetchall():
        row = server.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        counts[table] = row[0] if row else 0
    migrations = dict(server.execute(MIGRATIONS).fetchall()) if "django_migrations" in counts else {}
    return Snapshot(_one(server, "SHOW server_version"), migrations, counts)


def _rows(script: IO[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each row with its table."""
    for line in script:
        if not (begun := COPY.fullmatch(line)):
            continue
        table, columns = begun[1].decode(), [name.strip('"') for name in begun[2].decode().split(", ")]
        for row in script:
            if row == b"\\.\n":
                break
            yield table, dict(zip(columns, map(_text, row[:-1].split(b"\t")), strict=True))


def _text(value: bytes) -> str:
    """Return a value as COPY writes it; empty for none at all."""
    if b"\\" not in value:
        return value.decode()
    if value == b"\\N":
        return ""
    return re.sub(rb"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), value, flags=re.S).decode()


def _version_of(program: str) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True)  # noqa: S603
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(found[1]) if found else 0


def _reason(output: bytes) -> str:
    """Return the error's line: hints and the like follow it."""
    lines = output.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if re.search(r"\b(ERROR|FATAL|error):", line)]
    return (errors or lines or ["it gave no reason."])[-1]
