"""`manage.py restore`: puts a backup back, or only checks it."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from cloudtrain_site.backups.keys import Keys, read_keys, read_passphrase
from cloudtrain_site.backups.manifest import KEYS, RECORD, newest_of, read_manifest
from cloudtrain_site.backups.restoring import RestoreOrder, put_back
from cloudtrain_site.backups.site import site_database
from cloudtrain_site.backups.verifying import verify
from cloudtrain_site.conf.environment import path_of
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.extensions import restore_statements

PAUSE = "pause"
MEANWHILE = (
    "The queue is paused so that no job starts twice. Check the waiting jobs, then resume the queue on its page."
)


class Command(BaseCommand):
    """Changes nothing unless the whole backup is well, and nobody uses its place."""

    help = "Restore a backup into this site's data folder and database. The site must not run."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "backup", nargs="?", help="a backup, or a folder of backups: its newest (default: CLOUDTRAIN_BACKUP_DIR)"
        )
        parser.add_argument("--verify", action="store_true", help="check the backup without restoring it")
        parser.add_argument(
            "--keys", type=path_of, metavar="FILE", help="the backup's keys (default: keys/NAME.json beside it)"
        )
        parser.add_argument(
            "--passphrase-file", type=path_of, metavar="FILE", help="decrypt the keys with the passphrase in this file"
        )
        parser.add_argument("--replace", action="store_true", help="move existing data aside")
        parser.add_argument(
            "--database-only", action="store_true", help="leave the files of the data folder as they are"
        )
        parser.add_argument("--keep-queue-running", action="store_true", help="don't pause the queue")
        parser.add_argument(
            "--accept-lost-secrets", action="store_true", help="restore without the keys; the backup's secrets are lost"
        )

    def handle(self, *args: Any, backup: str | None, **options: Any) -> None:
        """Raises CommandError, and then everything is as it was."""
        place = backup or settings.BACKUP_DIR
        if not place:
            raise CommandError(f"Name a backup: {COMMAND} restore BACKUP, or set CLOUDTRAIN_BACKUP_DIR.")
        folder = newest_of(path_of(place))
        keys = _keys_of(folder, options)
        # A database that is asked who uses it would name us.
        connection.close()
        if options["verify"]:
            self._verify(folder, keys)
            return
        statements = dict(restore_statements)
        if options["keep_queue_running"]:
            del statements[PAUSE]
        by_environment = bool(os.environ.get("SECRET_KEY"))
        fallbacks = tuple(settings.SECRET_KEY_FALLBACKS)
        order = RestoreOrder(
            folder,
            settings.DATA_DIR,
            site_database(),
            Keys(keys.secret_key if keys and not by_environment else settings.SECRET_KEY, fallbacks),
            writes_key=keys is not None and not by_environment,
            statements=tuple(statements.values()),
            ignored=("static", RECORD, *_own_log()),
            replaces=options["replace"],
            database_only=options["database_only"],
            accepts_lost_secrets=options["accept_lost_secrets"],
        )
        try:
            restored = put_back(order)
        except OSError as error:
            raise CommandError(f"The backup could not be restored: {error}.") from error
        manifest = restored.manifest
        files = "" if options["database_only"] else f", {len(manifest.files):,} files"
        self.stdout.write(
            f"Restored as of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC: {sum(manifest.counts.values()):,} rows{files}, "
            f"{restored.secrets} secrets."
        )
        for path in restored.replaced:
            self.stdout.write(f"The data from before is in {path}. Remove it once you no longer need it.")
        if not options["keep_queue_running"]:
            self.stdout.write(MEANWHILE)

    def _verify(self, folder: Path, keys: Keys | None) -> None:
        try:
            secrets = verify(folder, site_database(), keys)
        except OSError as error:
            raise CommandError(f"The backup could not be read: {error}.") from error
        opened = (
            f"its keys decrypt {secrets} secrets"
            if keys
            else f"its {secrets} secrets were not checked: there are no keys"
        )
        manifest = read_manifest(folder)
        self.stdout.write(
            f"{folder} is intact: {len(manifest.files):,} files, {sum(manifest.counts.values()):,} rows, {opened}."
        )


def _keys_of(folder: Path, options: dict[str, Any]) -> Keys | None:
    file = options["keys"] or folder.parent / KEYS / f"{folder.name}.json"
    if options["keys"] or file.exists():
        return read_keys(file, read_passphrase(options["passphrase_file"]))
    return None


def _own_log() -> list[str]:
    """Return the name of the log that this command writes to, where that is in the data folder."""
    log = os.environ.get("SIMPLETUNER_LOG_FILE")
    return [path_of(log).name] if log and path_of(log).parent == settings.DATA_DIR else []
