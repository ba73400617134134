"""Makes a backup. It gets its name when it is whole: whatever ends us early leaves nothing that passes for one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloudtrain_site import __version__
from cloudtrain_site.backups.copying import TreeCopy, check_room, entry_of, locked, rules_for, sync_folder, sync_tree
from cloudtrain_site.backups.databases import Database
from cloudtrain_site.backups.keys import Keys, write_keys
from cloudtrain_site.backups.manifest import (
    DATABASE,
    FILES,
    KEYS,
    RECORD,
    BackupError,
    Manifest,
    backups_in,
    write_private,
)
from cloudtrain_site.backups.verifying import SecretsClosedError, verify

PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True)
class Order:
    """What is backed up, and where to."""

    target: Path
    data_dir: Path
    database: Database
    keys: Keys
    keys_dir: Path | None = None
    passphrase: str = ""
    without: tuple[str, ...] = ()
    #: Of a file, in bytes.
    largest: int | None = None
    #: The newest backups that stay; None: all.
    keep: int | None = None
    is_verified: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    folder: Path
    manifest: Manifest
    keys: Path
    #: Empty: none.
    warning: str = ""


def make_backup(order: Order) -> Made:
    """Make a backup, and record it for `manage.py doctor`. Raises BackupError or OSError."""
    rules = rules_for(list(order.without), order.largest, _file_inside(order))
    if order.target.resolve().is_relative_to(order.data_dir):
        raise BackupError(f"{order.target} is in the data folder and would be lost with it: name another folder.")
    order.target.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(order.target, f"Another backup into {order.target} is already running."):
        for leftover in order.target.glob(f"{PARTIAL}*"):
            shutil.rmtree(leftover)
        name = _free_name(order.target)
        partial = order.target / f"{PARTIAL}{name}"
        tree = TreeCopy(order.data_dir, partial / FILES, rules)
        check_room(order.target, tree.size() + order.database.size())
        try:
            manifest = _fill(partial, order, tree)
            keys = (order.keys_dir or order.target / KEYS) / f"{name}.json"
            write_keys(keys, order.keys, order.passphrase)
            manifest.write(partial)
            warning = _verified(partial, order) if order.is_verified else ""
            sync_tree(partial)
            partial.rename(order.target / name)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(order.target)
        _record(order.data_dir, order.target, manifest)
        if order.keep:
            for old in backups_in(order.target)[: -order.keep]:
                _remove(old, keys.parent)
    return Made(order.target / name, manifest, keys, warning)


def _fill(partial: Path, order: Order, tree: TreeCopy) -> Manifest:
    partial.mkdir(mode=0o700)
    tree.copy()
    made_at = datetime.now(UTC)
    snapshot = order.database.back_up(partial / DATABASE)
    (partial / DATABASE).chmod(0o600)
    tree.copy()
    return Manifest(
        version=__version__,
        made_at=made_at,
        host=os.uname().nodename,
        vendor=order.database.vendor,
        server=snapshot.server,
        database=entry_of(partial / DATABASE),
        migrations=snapshot.migrations,
        counts=snapshot.counts,
        files=tree.files,
        links=tree.links,
        folders=tree.folders,
        left_out=tree.left_out,
    )


def _verified(partial: Path, order: Order) -> str:
    """Check the backup. Returns a warning about secrets that were closed to the site before."""
    try:
        verify(partial, order.database, order.keys)
    except SecretsClosedError as error:
        return str(error)
    return ""


def _file_inside(order: Order) -> Path | None:
    file = order.database.file
    return file if file and file.parent == order.data_dir else None


def _free_name(target: Path) -> str:
    name = f"cloudtrain-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    taken = len(list(target.glob(f"{name}*")))
    return f"{name}-{taken}" if taken else name


def _record(data_dir: Path, target: Path, manifest: Manifest) -> None:
    draft = data_dir / f"{RECORD}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    write_private(draft, json.dumps({"at": manifest.made_at.isoformat(), "where": str(target)}))
    draft.replace(data_dir / RECORD)


def _remove(backup: Path, keys: Path) -> None:
    """Remove an old backup. First it loses its name."""
    leftover = backup.with_name(f"{PARTIAL}{backup.name}")
    backup.rename(leftover)
    shutil.rmtree(leftover)
    (keys / f"{backup.name}.json").unlink(missing_ok=True)
