"""What backups ask of a database; `sqlite.py` and `postgresql.py` have the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.apps import apps

from cloudtrain_site import extensions

MIGRATIONS = "SELECT app, max(name) FROM django_migrations GROUP BY app"
#: By table, the columns whose texts are sealed.
SealedColumns = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was in the database at the moment of its backup."""

    #: The version of its server.
    server: str
    migrations: dict[str, str]
    counts: dict[str, int]


class Database(Protocol):
    """A site's database. Each method may raise BackupError."""

    @property
    def vendor(self) -> str:
        """As Django calls it."""

    @property
    def file(self) -> Path | None:
        """The file that it is in, if it is in one."""

    def size(self) -> int:
        """Return how many bytes a backup takes at most."""

    def back_up(self, target: Path) -> Snapshot:
        """Write the file `target`, all of it as at one moment. Nobody who uses the database waits."""

    def read(self, backup: Path, columns: SealedColumns, take: Callable[[str], None]) -> Snapshot:
        """Read all of a backup, and give `take` each text of the sealed `columns`."""

    def has_content(self) -> bool:
        """Whether there are tables."""

    def users(self) -> Sequence[str]:
        """Return who is connected from elsewhere, as far as the database can tell."""


def sealed_columns() -> SealedColumns:
    """Return where sealed texts are, as the rooms registered them."""
    found: dict[str, list[str]] = {}
    for name in extensions.sealed_columns:
        model, _, field = name.rpartition(".")
        meta = apps.get_model(model)._meta
        found.setdefault(meta.db_table, []).append(str(meta.get_field(field).column))
    return found
