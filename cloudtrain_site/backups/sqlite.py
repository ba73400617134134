"""Backups of an SQLite file, by SQLite's own backup of a database that is in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cloudtrain_site.backups.databases import MIGRATIONS, SealedColumns, Snapshot
from cloudtrain_site.backups.manifest import BackupError
from cloudtrain_site.conf.data_folder import make_private_file
from cloudtrain_site.monitoring.process_heartbeats import MACHINE, SILENT_AFTER

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
#: Finds the living processes of other machines. Those of this machine hold a name, see `conf/occupancy.py`.
LATELY = "SELECT machine, role FROM cloudtrain_site_siteprocess WHERE seen_at > datetime('now', ?) AND machine <> ?"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SQLiteFile:
    path: Path
    vendor: str = "sqlite"

    @property
    def file(self) -> Path:
        return self.path

    def size(self) -> int:
        return sum(path.stat().st_size for path in (self.path, self._beside("-wal")) if path.exists())

    def back_up(self, target: Path) -> Snapshot:
        if not self.path.is_file():
            raise BackupError(f"There is no database at {self.path}.")
        make_private_file(str(target))
        with (
            _errors(self.path),
            closing(sqlite3.connect(self.path, timeout=PATIENCE_SECONDS)) as source,
            closing(_open(target)) as copy,
        ):
            # In one step: one in several begins anew whenever somebody writes in between.
            source.backup(copy, pages=-1)
            # In WAL mode the copy could not be read without files beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            return _snapshot(copy)

    def read(self, backup: Path, columns: SealedColumns, take: Callable[[str], None]) -> Snapshot:
        with _errors(backup), closing(_open(backup, "mode=ro&immutable=1")) as database:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise BackupError(f"The database in the backup is damaged: {found}.")
            snapshot = _snapshot(database)
            for table, names in columns.items():
                if table in snapshot.counts:
                    for row in database.execute(f"SELECT {', '.join(names)} FROM {table}"):  # noqa: S608 - ours
                        for text in filter(None, row):
                            take(text)
        return snapshot

    def has_content(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def users(self) -> Sequence[str]:
        if not self.has_content():
            return []
        with suppress(sqlite3.Error), closing(_open(self.path, "mode=ro")) as database:
            rows = database.execute(LATELY, [f"-{SILENT_AFTER.total_seconds()} seconds", MACHINE])
            return [f"a {role} process on {machine}" for machine, role in rows]
        return []  # no tables, or no database: it may be what is to be replaced

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}{suffix}")

    def files(self) -> list[Path]:
        """Return the file and those that SQLite and we put beside it."""
        return sorted(self.path.parent.glob(f"{self.path.name}*"))


def execute_in(path: Path, statements: Sequence[str]) -> None:
    """Run statements on a database that nobody else uses; those whose table an old one lacks are left out."""
    with _errors(path), closing(_open(path)) as database, database:
        for statement in statements:
            try:
                database.execute(statement)
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise


def _open(path: Path, how: str = "mode=rw") -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=PATIENCE_SECONDS)


def _snapshot(database: sqlite3.Connection) -> Snapshot:
    tables = [name for (name,) in database.execute(TABLES)]
    counts = {table: database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables}  # noqa: S608
    migrations = dict(database.execute(MIGRATIONS).fetchall()) if "django_migrations" in counts else {}
    return Snapshot(sqlite3.sqlite_version, migrations, counts)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BackupError(f"The database {path} can't be used: {error}.") from error
