"""What a backup is: a folder with the database, the files of the data folder, and the manifest, which is written last.

DIR/cloudtrain-20261129T020000Z/manifest.json
                                database
                                files/...
DIR/keys/cloudtrain-20261129T020000Z.json
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from django.core.management.base import CommandError

MANIFEST, DATABASE, FILES, KEYS = "manifest.json", "database", "files", "keys"
#: Beginnings of the names of what a restore prepares, and of what it moved away.
STAGE, REPLACED = ".restore-", "replaced-"
#: In the data folder: when the last backup was made, and where.
RECORD = "last_backup.json"
NAME = re.compile(r"cloudtrain-\d{8}T\d{6}Z(-\d+)?")
#: The number of this layout. A release that changes it reads the older ones.
FORMAT = 1


class BackupError(CommandError):
    """Why a backup can't be made, checked or put back, as a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file: its size and digest as the backup has it."""

    size: int
    sha256: str
    mtime_ns: int
    is_executable: bool = False


@dataclass(slots=True)
class Manifest:
    version: str
    made_at: datetime
    host: str
    #: "sqlite" or "postgresql", and the version of the server that the dump is of.
    vendor: str
    server: str
    database: Entry
    #: The newest migration of each app, and the rows of each table.
    migrations: dict[str, str]
    counts: dict[str, int]
    files: dict[str, Entry] = field(default_factory=dict)
    #: Symbolic links with their targets: nothing follows them.
    links: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    #: By path why something is not in the backup.
    left_out: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def size(self) -> int:
        return self.database.size + sum(entry.size for entry in self.files.values())

    def write(self, folder: Path) -> None:
        text = json.dumps({**asdict(self), "made_at": self.made_at.isoformat()}, indent=1)
        write_private(folder / MANIFEST, text)


def write_private(path: Path, text: str) -> None:
    """Write a new file for this account alone, and have it on its disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a whole backup. Raises BackupError for what is none, or of a newer release."""
    try:
        values: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        number = values["format"]
    except FileNotFoundError:
        raise BackupError(f"{folder} is not a complete backup: it has no {MANIFEST}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder / MANIFEST} can't be read: {error}.") from None
    if number != FORMAT:
        raise BackupError(
            f"The backup was made by cloudtrain {values.get('version')}, which is newer than this one. "
            "Install that release first."
        )
    try:
        values["files"] = {path: Entry(**entry) for path, entry in values["files"].items()}
        values["database"] = Entry(**values["database"])
        values["made_at"] = datetime.fromisoformat(values["made_at"])
        manifest = Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{folder / MANIFEST} is damaged: {error}.") from None
    for path in (*manifest.files, *manifest.links, *manifest.folders):
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or not parts:
            raise BackupError(f"{folder / MANIFEST} names {path!r}, which is outside of the data folder.")
    return manifest


def recorded_place(data_dir: Path) -> str:
    """Return where the last backup of a site was put; empty: none is on record."""
    try:
        return str(json.loads((data_dir / RECORD).read_bytes())["where"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def backups_in(folder: Path) -> list[Path]:
    """Return the whole backups in `folder`, the newest last."""
    found = [path for path in folder.glob("cloudtrain-*") if NAME.fullmatch(path.name) and (path / MANIFEST).is_file()]
    return sorted(found)


def newest_of(place: Path) -> Path:
    """Return the backup at `place`, or the newest in it. Raises BackupError when there is none."""
    if (place / MANIFEST).is_file() or NAME.fullmatch(place.name):
        return place
    if found := backups_in(place):
        return found[-1]
    raise BackupError(f"There is no backup in {place}.")


def paths_of(manifest: Manifest) -> Iterator[str]:
    """Yield the folders that the manifest's files and links need, outer ones first."""
    named = [*manifest.files, *manifest.links]
    parents = {str(parent) for path in named for parent in PurePosixPath(path).parents}
    yield from sorted({*manifest.folders, *parents} - {"."})
