"""SimpleTuner's databases, found and read. Nothing is written beside them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

#: A row, by column. An older version lacks some columns.
Row: TypeAlias = Mapping[str, Any]

JOBS_FILE, APPROVALS_FILE = "jobs.db", "approval.db"
#: These are secrets of SimpleTuner, which are not even read.
NEVER_READ = frozenset({"upload_token", "password_hash"})
LONE_FILE = (
    "There is no {name}-wal beside it. If SimpleTuner runs, or ran when the file was copied, the newest rows are "
    "missing: copy {name}-wal along, or stop SimpleTuner first."
)
#: At these bytes of its head an SQLite file says that it has a write-ahead log.
_WAL_MARK, _WAL_VALUE = slice(18, 20), b"\x02\x02"


class SourceError(Exception):
    """SimpleTuner's database can't be read; the message says why."""


class Source:
    """An open database of SimpleTuner, as it is at one moment."""

    def __init__(self, connection: sqlite3.Connection, name: str, warning: str) -> None:
        self.name = name
        #: A sentence about what may be missing in it; empty: nothing.
        self.warning = warning
        self._connection = connection

    def has(self, table: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [table])
        return found.fetchone() is not None

    def rows(self, table: str, order: str = "rowid") -> Iterator[Row]:
        """Yield the rows of a table; none when there is no such table. Raises SourceError for a damaged one."""
        if not self.has(table):
            return
        try:
            columns = [name for _, name, *_ in self._connection.execute(f'PRAGMA table_info("{table}")')]
            read = [name for name in columns if name not in NEVER_READ]
            listed = ", ".join(f'"{name}"' for name in read)
            for values in self._connection.execute(f'SELECT {listed} FROM "{table}" ORDER BY {order}'):  # noqa: S608
                yield dict(zip(read, values, strict=True))
        except sqlite3.Error as error:
            raise SourceError(f"{self.name}: the table {table} can't be read: {error}.") from error


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a database, to be read only. Raises SourceError."""
    if not path.is_file():
        raise SourceError(f"There is no file {path}.")
    with tempfile.TemporaryDirectory(prefix="cloudtrain-import-") as folder:
        try:
            connection, warning = _connect(path, Path(folder))
        except (OSError, sqlite3.Error) as error:
            raise SourceError(f"{path} can't be opened as a database of SimpleTuner: {error}.") from error
        try:
            yield Source(connection, path.name, warning)
        finally:
            connection.close()


def _connect(path: Path, folder: Path) -> tuple[sqlite3.Connection, str]:
    """Return a connection and a warning.

    With a log beside it SQLite needs an index of the log, and makes one where there is none: then it reads a copy.
    """
    log, index = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    if not log.exists():
        # Immutable: otherwise SQLite would make both files beside it.
        return _begin(path, "immutable=1"), LONE_FILE.format(name=path.name) if _has_log(path) else ""
    if index.exists():
        try:
            return _begin(path, "mode=ro"), ""
        except sqlite3.OperationalError:  # a folder that can't be written to, say
            pass
    for one in (path, log):
        shutil.copyfile(one, folder / one.name)
    return _begin(folder / path.name, "mode=ro"), ""


def _begin(path: Path, option: str) -> sqlite3.Connection:
    """Open the file and begin to read: all is read as it is now, whatever SimpleTuner writes meanwhile."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{option}", uri=True, isolation_level=None, timeout=10)
    try:
        connection.text_factory = lambda text: text.decode(errors="replace").replace("\x00", " ")
        connection.execute("BEGIN")
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _has_log(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_WAL_MARK.stop)[_WAL_MARK] == _WAL_VALUE


def find_jobs_file(given: str) -> Path:
    """Return the path of `jobs.db`: the given file, or within the given folder. Raises SourceError."""
    path = Path(given).expanduser()
    candidates = [path, path / JOBS_FILE, path / "cloud" / JOBS_FILE] if given else list(_usual_places())
    found = next((one for one in candidates if one.is_file()), None)
    if found is None:
        looked = ", ".join(str(one) for one in (candidates[1:] if given and path.is_dir() else candidates))
        raise SourceError(f"There is no {JOBS_FILE}. Looked for: {looked}.")
    return found


def _usual_places() -> Iterator[Path]:
    """Yield where SimpleTuner's versions keep it, the newest first."""
    named = [os.environ.get("SIMPLETUNER_STATE_DIR"), _home_of_state(), os.environ.get("SIMPLETUNER_CONFIG_DIR")]
    volumes = ["/workspace/simpletuner", "/notebooks/simpletuner"]
    for folder in [*filter(None, named), *volumes]:
        yield Path(folder) / "cloud" / JOBS_FILE


def _home_of_state() -> str:
    if sys.platform == "darwin":
        return str(Path.home() / "Library/Application Support/SimpleTuner")
    return str(Path.home() / ".simpletuner")
