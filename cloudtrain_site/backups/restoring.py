"""Puts a backup back. Everything is copied beside its place first, so that only the last step needs luck.

That step moves what was there away, moves the copies in, and begins with a mark: while it is there no process of the
site starts, and a second restore does it again. PostgreSQL replaces its content in one transaction.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloudtrain_site.backups.copying import check_room, copy_checked, locked, sync_folder, sync_tree, write_pieces
from cloudtrain_site.backups.databases import Database
from cloudtrain_site.backups.keys import Keys
from cloudtrain_site.backups.manifest import (
    DATABASE,
    FILES,
    REPLACED,
    STAGE,
    BackupError,
    Manifest,
    paths_of,
    write_private,
)
from cloudtrain_site.backups.postgresql import PostgreSQL
from cloudtrain_site.backups.sqlite import SQLiteFile, execute_in
from cloudtrain_site.backups.verifying import SecretsClosedError, check_usable, verify_database
from cloudtrain_site.conf.data_folder import KEY_FILE
from cloudtrain_site.conf.occupancy import RESTORING, serving_processes


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What is put back, and where to."""

    backup: Path
    data_dir: Path
    database: Database
    #: The keys that the site has once the backup is put back: they must open its secrets.
    keys: Keys
    #: Whether the secret key is written into the data folder. It isn't when the environment sets SECRET_KEY.
    writes_key: bool
    statements: Sequence[str] = ()
    #: Names in the data folder that don't count as content and stay: the command's own log, static files.
    ignored: Sequence[str] = ()
    replaces: bool = False
    database_only: bool = False
    accepts_lost_secrets: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    manifest: Manifest
    secrets: int
    #: Where what was there before is now.
    replaced: Sequence[Path]


def put_back(order: RestoreOrder) -> Restored:
    """Put a backup back. Raises BackupError or OSError; what was there is then there still, unless the mark is."""
    order.data_dir.mkdir(parents=True, exist_ok=True)
    mark = order.data_dir / RESTORING
    with locked(order.data_dir, f"Another restore into {order.data_dir} is already running."):
        manifest = check_usable(order.backup, order.database)
        secrets = _check_database(order, manifest)
        unfinished = _unfinished(mark, order)
        _check_free(order)
        if not (order.replaces or unfinished):
            _check_empty(order)
        for path in [] if order.database_only else _content(order):
            if path.is_mount():
                raise BackupError(f"{path} is a mount, which can't be moved away: unmount it first.")
        _clean(order)
        check_room(order.data_dir, manifest.database.size if order.database_only else manifest.size)
        try:
            moves = _stage(order, manifest)
            for stage in _stages(order):
                sync_tree(stage)
            draft = _stages(order)[0] / RESTORING
            write_private(draft, json.dumps({"backup": str(order.backup), "database_only": order.database_only}))
            draft.rename(mark)
            _check_free(order)
            if isinstance(order.database, PostgreSQL):
                order.database.put_back(order.backup / DATABASE, order.statements, manifest.server)
        except BaseException:
            if not unfinished:
                mark.unlink(missing_ok=True)
            _clean(order)
            raise
        replaced = _swap(order, moves)
        for place in _places(order):
            sync_folder(place)
        mark.unlink()
        _clean(order)
    return Restored(manifest, secrets, replaced)


def _unfinished(mark: Path, order: RestoreOrder) -> bool:
    """Whether an earlier restore was interrupted. Raises BackupError when this one would do less than that."""
    try:
        text = mark.read_text()
    except FileNotFoundError:
        return False
    if order.database_only and '"database_only": true' not in text:
        raise BackupError("The interrupted restore included the files: run it without --database-only.")
    return True


def _check_database(order: RestoreOrder, manifest: Manifest) -> int:
    copy_checked(order.backup / DATABASE, None, manifest.database)
    try:
        return verify_database(order.backup, manifest, order.database, order.keys)
    except SecretsClosedError as error:
        if order.accepts_lost_secrets:
            return 0
        raise BackupError(f"{error} You can also add the backup's key to SECRET_KEY_FALLBACKS.") from None


def _check_free(order: RestoreOrder) -> None:
    """Raise BackupError while somebody uses the place."""
    if processes := serving_processes(order.data_dir):
        raise BackupError(
            f"A site runs on {order.data_dir} (processes {', '.join(map(str, processes))}): stop it first."
        )
    if users := order.database.users():
        raise BackupError(f"The database is in use by {', '.join(sorted(set(users))[:5])}: stop them first.")


def _check_empty(order: RestoreOrder) -> None:
    content = [] if order.database_only else _content(order)
    names = [path.name for path in content if path.name != KEY_FILE]
    if order.database.has_content():
        names.append("the database")
    if names:
        raise BackupError(
            f"{order.data_dir} is not empty: there is {', '.join(names[:5])}. Add --replace to move it aside."
        )


def _content(order: RestoreOrder) -> list[Path]:
    """Return what a restore of all files moves away; the database's files are another matter."""
    own = (RESTORING, STAGE, REPLACED, *order.ignored)
    database = {path.name for path in _database_files(order) if path.parent == order.data_dir}
    return [
        path for path in sorted(order.data_dir.iterdir()) if not path.name.startswith(own) and path.name not in database
    ]


def _database_files(order: RestoreOrder) -> list[Path]:
    return order.database.files() if isinstance(order.database, SQLiteFile) else []


def _places(order: RestoreOrder) -> list[Path]:
    """Return the folders that something is put into."""
    file = order.database.file
    return [order.data_dir, *([file.parent] if file and file.parent != order.data_dir else [])]


def _stages(order: RestoreOrder) -> list[Path]:
    return [stage for place in _places(order) for stage in place.glob(f"{STAGE}*")]


def _clean(order: RestoreOrder) -> None:
    for leftover in _stages(order):
        shutil.rmtree(leftover)


def _stage(order: RestoreOrder, manifest: Manifest) -> list[tuple[Path, Path]]:
    """Copy everything beside its place. Returns the moves that are left to do."""
    stage = _new_folder(order.data_dir, STAGE)
    if not order.database_only:
        for path in paths_of(manifest):
            (stage / path).mkdir(mode=0o700)
        for path, entry in manifest.files.items():
            copy_checked(order.backup / FILES / path, stage / path, entry)
        # Last, so that nothing was written through one.
        for path, target in manifest.links.items():
            (stage / path).symlink_to(target)
    if order.writes_key and _kept_key(order.data_dir) != order.keys.secret_key:
        write_pieces(stage / KEY_FILE, iter([order.keys.secret_key.encode()]))
    moves = [(path, order.data_dir / path.name) for path in sorted(stage.iterdir())]
    if file := order.database.file:
        beside = stage if file.parent == order.data_dir else _new_folder(file.parent, STAGE)
        copy_checked(order.backup / DATABASE, beside / file.name, manifest.database)
        execute_in(beside / file.name, order.statements)
        moves.append((beside / file.name, file))
    return moves


def _new_folder(place: Path, prefix: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    folder = place / f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    folder.mkdir(mode=0o700)
    return folder


def _kept_key(data_dir: Path) -> str:
    try:
        return (data_dir / KEY_FILE).read_text().strip()
    except FileNotFoundError:
        return ""


def _swap(order: RestoreOrder, moves: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Do the moves. Returns the folders of what was moved away."""
    arriving = {target for _, target in moves}
    leaving = [*([] if order.database_only else _content(order)), *_database_files(order)]
    leaving = [path for path in leaving if path.name != KEY_FILE]
    leaving += [path for path in [order.data_dir / KEY_FILE] if path in arriving and path.exists()]
    replaced: dict[Path, Path] = {}
    for path in leaving:
        folder = replaced.get(path.parent)
        if folder is None:
            folder = replaced[path.parent] = _new_folder(path.parent, REPLACED)
        path.rename(folder / path.name)
    for staged, target in moves:
        staged.rename(target)
    return list(replaced.values())
