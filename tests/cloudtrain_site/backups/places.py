"""A site's data folder with a small database, and what is compared of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudtrain_site.backups.keys import Keys, read_keys
from cloudtrain_site.backups.making import Made, Order, make_backup
from cloudtrain_site.backups.restoring import Restored, RestoreOrder, put_back
from cloudtrain_site.backups.sqlite import SQLiteFile
from cloudtrain_site.encryption import seal

JOB = "01jd0000000000000000000000"
TABLES = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE django_migrations (app text, name text);
    INSERT INTO django_migrations VALUES ('jobs', '0001_initial');
    CREATE TABLE queueing_queuestate (id integer, paused bool);
    INSERT INTO queueing_queuestate VALUES (1, false);
    CREATE TABLE jobs_job (id text, sealed text);
"""
Tree = dict[str, tuple[int, bytes | str]]


@dataclass
class Place:
    """A site of the test's settings: what it sealed is opened by their key."""

    folder: Path
    keys: Keys

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def database(self) -> SQLiteFile:
        return SQLiteFile(self.data / "cloudtrain.sqlite3")

    def fill(self) -> None:
        self.data.mkdir(mode=0o700)
        with closing(sqlite3.connect(self.database.path)) as database:
            database.executescript(TABLES)
            database.execute("INSERT INTO jobs_job VALUES (?, ?)", [JOB, seal([(("config", "hf_token"), "hf_x")])])
            database.commit()
        (self.data / "secret_key").write_text(self.keys.secret_key)
        self.write(f"jobs/{JOB}/train.log", b"Step 1/2\n")
        self.write(f"jobs/{JOB}/output/checkpoint-1/weights", os.urandom(300_000))
        self.write("uploads/2", b"zip")
        self.write(os.fsdecode(b"outputs/caf\xe9 \n/x"), b"named before Unicode")
        (self.data / "outputs" / "empty").mkdir()
        (self.data / "jobs" / "active").mkdir()
        (self.data / "jobs" / "active" / JOB).symlink_to(f"../{JOB}")
        (self.data / f"jobs/{JOB}/output/run.sh").touch(0o755)

    def write(self, path: str, content: bytes) -> Path:
        (self.data / path).parent.mkdir(parents=True, exist_ok=True)
        (self.data / path).write_bytes(content)
        return self.data / path

    def back_up(self, **options: Any) -> Made:
        return make_backup(Order(self.backups, self.data, options.pop("database", self.database), self.keys, **options))

    def put_back(self, made: Made, **options: Any) -> Restored:
        chosen: dict[str, Any] = {"keys": read_keys(made.keys, ""), "writes_key": True}
        chosen["statements"] = ["UPDATE queueing_queuestate SET paused = true", "DELETE FROM jobs_missing"]
        chosen |= {"database": self.database, "ignored": ["last_backup.json"]}
        return put_back(RestoreOrder(made.folder, self.data, **{**chosen, **options}))

    def lose(self) -> None:
        shutil.rmtree(self.data)

    def tree(self) -> Tree:
        """All that is there but the database, by path, with its modes."""
        return tree_of(self.data, "cloudtrain.sqlite3")

    def query(self, question: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database.path)) as database:
            return database.execute(question).fetchall()


def tree_of(root: Path, *without: str) -> Tree:
    found: Tree = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if not name.startswith((*without, "replaced-", "last_backup.json")):
            mode = path.lstat().st_mode
            content = str(path.readlink()) if stat.S_ISLNK(mode) else path.read_bytes() if stat.S_ISREG(mode) else ""
            found[name] = stat.S_IFMT(mode) | (mode & stat.S_IXUSR if stat.S_ISREG(mode) else 0), content
    return found
