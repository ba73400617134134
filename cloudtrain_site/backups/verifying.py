"""Checks a backup, and says what of it this site can't use."""

from __future__ import annotations

import re
from pathlib import Path

from django.db.migrations.loader import MigrationLoader

from cloudtrain_site.backups.copying import copy_checked
from cloudtrain_site.backups.databases import Database, sealed_columns
from cloudtrain_site.backups.keys import Keys
from cloudtrain_site.backups.manifest import DATABASE, FILES, BackupError, Manifest, read_manifest
from cloudtrain_site.database.newer_migrations import newer_migrations
from cloudtrain_site.encryption import opens

#: A result of `encryption.seal`, also within JSON.
SEALED = re.compile(r"gAAAA[0-9A-Za-z_-]{70,}={0,2}")


def check_usable(folder: Path, database: Database) -> Manifest:
    """Return the manifest. Raises BackupError for a backup that this release can't put back into this database."""
    manifest = read_manifest(folder)
    if manifest.vendor != database.vendor:
        raise BackupError(f"The backup is of {manifest.vendor}, and this site has {database.vendor}.")
    if newer := newer_migrations(manifest.migrations.items(), MigrationLoader(None).disk_migrations):
        raise BackupError(
            f"The backup was made by cloudtrain {manifest.version}, which is newer than this one: its database has "
            f"{', '.join(newer[:3])}. Install that release first."
        )
    return manifest


def verify(folder: Path, database: Database, keys: Keys | None) -> int:
    """Check all of a backup: digests, rows, and that the keys open its secrets. Returns how many secrets there are.

    Raises BackupError. Without keys the secrets are only counted.
    """
    manifest = check_usable(folder, database)
    for path, entry in manifest.files.items():
        copy_checked(folder / FILES / path, None, entry)
    copy_checked(folder / DATABASE, None, manifest.database)
    return verify_database(folder, manifest, database, keys)


def verify_database(folder: Path, manifest: Manifest, database: Database, keys: Keys | None) -> int:
    """Check the database of a backup, see `verify`."""
    count = lost = 0

    def take(text: str) -> None:
        nonlocal count, lost
        for sealed in SEALED.findall(text):
            count += 1
            lost += keys is not None and not opens(sealed, keys.all)

    snapshot = database.read(folder / DATABASE, sealed_columns(), take)
    if snapshot.counts != manifest.counts:
        tables = sorted(set(snapshot.counts.items()) ^ set(manifest.counts.items()))
        raise BackupError(f"The database in the backup has other rows than its manifest says: {tables[0][0]}.")
    if snapshot.migrations != manifest.migrations:
        raise BackupError("The database in the backup has other migrations than its manifest says.")
    if lost:
        raise SecretsClosedError(lost, count)
    return count


class SecretsClosedError(BackupError):
    def __init__(self, lost: int, count: int) -> None:
        super().__init__(
            f"{lost} of the {count} secrets in the database can't be decrypted with these keys: add --keys FILE."
        )
