"""The doctor's check of backups."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from cloudtrain_site.backups.manifest import MANIFEST, backups_in, recorded_place
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn

DAY_SECONDS = 86_400


def backups() -> Iterator[Finding]:
    """Check that the newest backup is younger than a day, where one was made or somebody said where they are."""
    place = settings.BACKUP_DIR or recorded_place(settings.DATA_DIR)
    if not place:
        yield skipped("No backup folder is set (CLOUDTRAIN_BACKUP_DIR), and no backup was made.")
        return
    folder = Path(place)
    try:
        entries = [path for path in (*folder.iterdir(), *folder.glob("*/*")) if path.is_file()]
        # Of our own the whole ones count alone, and not what a killed command left.
        entries = [backup / MANIFEST for backup in backups_in(folder)] or entries
        newest = max((path.stat().st_mtime for path in entries), default=None)
    except OSError as error:
        yield bad(f"{folder} can't be read: {error.strerror}.", f"ls -l {shlex.quote(str(folder))}")
        return
    age = None if newest is None else time.time() - newest
    if age is None:
        yield bad(f"{folder} has no backup.", f"{COMMAND} backup {shlex.quote(str(folder))}, each day.")
    elif age > DAY_SECONDS:
        yield warn(
            f"The newest backup in {folder} is {age / DAY_SECONDS:.1f} days old.", "systemctl list-timers, crontab -l"
        )
    else:
        yield ok(f"The newest backup is {age / 3600:.0f} h old.")
