"""The checks of the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from statistics import median

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.database.connections import place_of_database
from cloudtrain_site.database.newer_migrations import newer_migrations
from cloudtrain_site.database.write_probe import write_failure
from cloudtrain_site.doctor.disks import as_size, free_bytes, mount_of
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn
from cloudtrain_site.models import SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import database_time

ROUND_TRIPS = 20
#: A page asks some dozens of questions.
SLOW_MS = 20.0
POSTGRESQL_URL = "DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/NAME"
#: SQLite's locks and its shared memory don't work there.
NETWORK_FILE_SYSTEMS = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph"),
        *("glusterfs", "lustre", "gpfs", "beegfs", "ocfs2"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse"),
    )
)


def answers() -> Iterator[Finding]:
    """Check that the database answers soon, is new enough, and takes writes."""
    try:
        milliseconds = _round_trip()
        least = connection.features.minimum_database_version or ()
        version = connection.get_database_version()
        failure = write_failure()
    except Error as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        yield bad(f"{place_of_database()} does not answer: {reason}.", f"Start the server, or set {POSTGRESQL_URL}")
        return
    shown = f"{connection.display_name} {'.'.join(map(str, version))}"
    if version < least:
        yield bad(f"{shown} is too old.", f"Upgrade it to {'.'.join(map(str, least))} or newer.")
    if failure:
        yield bad(f"{failure.heading} ({place_of_database()}).", failure.remedy)
    if milliseconds > SLOW_MS:
        yield warn(f"{shown} takes {milliseconds:.1f} ms for a round trip.", "Move the database closer to the site.")
    yield ok(f"{shown} answers in {milliseconds:.2f} ms.")


def _round_trip() -> float:
    """Return the median in milliseconds."""
    times = []
    with connection.cursor() as cursor:
        for _ in range(ROUND_TRIPS):
            started = time.perf_counter()
            cursor.execute("SELECT 1")
            cursor.fetchone()
            times.append(time.perf_counter() - started)
    return median(times) * 1000


def migrations() -> Iterator[Finding]:
    """Check that the tables are those of this version."""
    executor = MigrationExecutor(connection)
    loader = executor.loader
    missing = [migration for migration, _ in executor.migration_plan(loader.graph.leaf_nodes())]
    if missing:
        names = ", ".join(f"{one.app_label}.{one.name}" for one in missing[:5])
        yield bad(f"{len(missing)} migrations are not applied: {names}.", f"{COMMAND} migrate")
    if newer := newer_migrations(loader.applied_migrations, loader.disk_migrations):
        names = ", ".join(newer[:5])
        yield bad(f"The database is from a newer version than this code: it has {names}.", "git pull && make install")
    yield ok(f"{len(loader.disk_migrations)} migrations are known.")


def one_machine() -> Iterator[Finding]:
    """Check that an SQLite file isn't used from several machines."""
    if connection.vendor != "sqlite":
        yield skipped(f"{connection.display_name} serves any number of machines.")
        return
    lately = SiteProcess.objects.filter(seen_at__gt=database_time() - timedelta(hours=1))
    # A container that takes another one's place has another name, but was never there at the same time.
    together = {
        name
        for one, other in combinations(lately, 2)
        if one.machine != other.machine and one.started_at < other.seen_at and other.started_at < one.seen_at
        for name in (one.machine, other.machine)
    }
    if together:
        yield bad(f"{', '.join(sorted(together))} share one SQLite file, which will be damaged.", POSTGRESQL_URL)


def sqlite_file() -> Iterator[Finding]:
    """Check that an SQLite file is on a disk of this machine, in WAL mode, with room to grow."""
    if connection.vendor != "sqlite":
        yield skipped("The database is not SQLite.")
        return
    file = Path(str(connection.settings_dict["NAME"]))
    if not file.is_file():
        yield skipped("The database is in memory.")
        return
    mount = mount_of(file)
    if mount.kind in NETWORK_FILE_SYSTEMS:
        yield bad(
            f"{file} is on {mount.point}, a network file system ({mount.kind}).",
            "SIMPLETUNER_DATA_DIR=/var/lib/cloudtrain",
        )
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (mode,) = cursor.fetchone()
    if mode != "wal":
        yield bad(
            f"The journal mode is {mode}: readers and the writer wait for each other.",
            f"sqlite3 {file} 'PRAGMA journal_mode=WAL'",
        )
    free, size = free_bytes(file), file.stat().st_size
    if free < 2 * size:
        yield warn(
            f"{mount.point} has {as_size(free)} free, and {file.name} {as_size(size)}: a backup or VACUUM may fill it.",
            f"df -h {file.parent}",
        )
    yield ok(f"{as_size(size)} on {mount.kind}.")
