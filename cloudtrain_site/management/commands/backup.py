"""`manage.py backup`: a copy of the site, while it runs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from cloudtrain_site.backups.keys import Keys, read_passphrase
from cloudtrain_site.backups.making import Order, make_backup
from cloudtrain_site.backups.site import site_database
from cloudtrain_site.conf.environment import path_of
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.disks import as_size

MEGABYTE = 1_000_000


class Command(BaseCommand):
    """Prints the backup's folder, what is not in it, and where its keys are."""

    help = "Back up the database and the data folder, and the keys separately. The site can keep running."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", nargs="?", help="the folder of the backups (default: CLOUDTRAIN_BACKUP_DIR)")
        parser.add_argument(
            "--without",
            action="append",
            default=[],
            metavar="PART",
            help="leave out outputs, uploads or logs; repeatable",
        )
        parser.add_argument("--largest", type=int, metavar="MB", help="leave out files larger than this")
        parser.add_argument(
            "--keys-dir", type=path_of, metavar="DIR", help="the folder of the keys (default: FOLDER/keys)"
        )
        parser.add_argument(
            "--passphrase-file", type=path_of, metavar="FILE", help="encrypt the keys with the passphrase in this file"
        )
        parser.add_argument("--keep", type=int, metavar="N", help="keep the newest N backups and remove older ones")
        parser.add_argument("--verify", action="store_true", help="read the finished backup again and check it")

    def handle(self, *args: Any, folder: str | None, **options: Any) -> None:
        """Raises CommandError, and then there is no new backup."""
        place = folder or settings.BACKUP_DIR
        if not place:
            raise CommandError(f"Name a folder: {COMMAND} backup FOLDER, or set CLOUDTRAIN_BACKUP_DIR.")
        if min(options["largest"] or 1, options["keep"] or 1) < 1 or options["keep"] == 0:
            raise CommandError("--largest and --keep must be above 0.")
        order = Order(
            path_of(place),
            settings.DATA_DIR,
            site_database(),
            Keys(settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS)),
            keys_dir=options["keys_dir"],
            passphrase=read_passphrase(options["passphrase_file"]),
            without=tuple(options["without"]),
            largest=options["largest"] and options["largest"] * MEGABYTE,
            keep=options["keep"],
            is_verified=options["verify"],
        )
        try:
            made = make_backup(order)
        except OSError as error:
            raise CommandError(f"The backup could not be made: {error}.") from error
        manifest = made.manifest
        rows = sum(manifest.counts.values())
        verified = ", verified" if options["verify"] else ""
        self.stdout.write(
            f"{made.folder}: {rows:,} rows, {len(manifest.files):,} files, {as_size(manifest.size)}{verified}"
        )
        self.stdout.write(f"Its keys, {'encrypted' if order.passphrase else 'unencrypted'}: {made.keys}")
        for path, reason in manifest.left_out.items():
            self.stdout.write(f"Not in it: {path} ({reason})")
        for path, target in manifest.links.items():
            if "/" not in path:
                self.stderr.write(f"{path} is a link to {target}, whose content is not in the backup.")
        if made.warning:
            self.stderr.write(made.warning)
