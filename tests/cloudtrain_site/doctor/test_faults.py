"""What the doctor finds about the site itself: each fault by its own check, and nothing else cries."""

from __future__ import annotations

import json
import os
import smtplib
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.mail.backends.smtp import EmailBackend
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ

from cloudtrain_site.database.failures import FULL
from cloudtrain_site.doctor import background, database, disks, files, mail
from cloudtrain_site.models import Loop, SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import MACHINE
from tests.doctor import process, raising
from tests.doctor_faults import BAD, WARN, Faults, World, healthy, world

__all__ = ["healthy", "world"]
FAULTS = Faults()
fault = FAULTS.add


def behind_tls(world: World) -> None:
    """As docs/deploying.md has it; nobody answers there."""
    settings = world.settings
    settings.CSRF_TRUSTED_ORIGINS, settings.ALLOWED_HOSTS = ["https://train.example.org"], ["train.example.org"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600


def backups_of(world: World) -> Path:
    folder: Path = world.folder / "backups"
    folder.mkdir()
    world.settings.BACKUP_DIR = str(folder)
    return folder


def beside(**fields: Any) -> None:
    """Another machine, which this one has just replaced: two at once that share an SQLite file are another fault."""
    process("background", "two", **fields)
    SiteProcess.objects.filter(machine=MACHINE).update(started_at=timezone.now())


@fault("database", BAD, "does not answer: server closed the connection. [Start the server, or set DATABASE_URL")
def database_away(world: World) -> None:
    world.patch(database, "_round_trip", raising(OperationalError("server closed the connection\n\tat host")))


@fault("database", BAD, "The disk is full")
def database_full(world: World) -> None:
    world.patch(database, "write_failure", lambda: FULL)


@fault("database", WARN, "takes 80.0 ms for a round trip")
def database_far_away(world: World) -> None:
    world.patch(database, "_round_trip", lambda: 80.0)


@fault("migrations", BAD, "1 migrations are not applied: cloudtrain_site.0013_fewer_indexes. [manage.py migrate]")
def migration_missing(world: World) -> None:
    MigrationRecorder.Migration.objects.filter(app="cloudtrain_site", name="0013_fewer_indexes").delete()


@fault("migrations", BAD, "from a newer version than this code: it has jobs.9999_future")
def database_newer(world: World) -> None:
    MigrationRecorder.Migration.objects.create(app="jobs", name="9999_future")


@fault("data-folder", BAD, "Permission denied. [sudo chown -R ")
def folder_closed(world: World) -> None:
    world.patch(tempfile, "NamedTemporaryFile", raising(PermissionError(13, "Permission denied")))


@fault("data-folder", BAD, "old.log in")
def folder_of_two_accounts(world: World) -> None:
    (world.settings.DATA_DIR / "old.log").touch()
    owner_of = files._owner_of
    world.patch(files, "_owner_of", lambda path: 12345 if path.name == "old.log" else owner_of(path))


@fault("data-folder", BAD, "[chmod 600 ")
def key_readable_by_all(world: World) -> None:
    (world.settings.DATA_DIR / "secret_key").chmod(0o644)


@fault("disk", BAD, "the largest upload, 1")
def disk_full(world: World) -> None:
    world.patch(files, "free_bytes", lambda folder: 50_000_000)


@fault("disk", WARN, "in memory: a few uploads would fill it. [TMPDIR=/var/tmp]")
def temporary_files_in_memory(world: World) -> None:
    world.patch(files, "free_bytes", lambda folder: 10**10 if folder == world.settings.DATA_DIR else 2 * 10**8)
    world.patch(files, "mount_of", lambda folder: disks.Mount(folder, "tmpfs"))


@fault("disk", WARN, "room for 20 more files")
def inodes_used_up(world: World) -> None:
    world.patch(files, "free_inodes", lambda folder: 20)


@fault("secret-key", BAD, "it can be guessed")
def key_short(world: World) -> None:
    world.settings.SECRET_KEY = "letmein"


@fault("secret-key", BAD, "Another SECRET_KEY is in use on two")
def key_of_its_own(world: World) -> None:
    beside(key_digest="0" * 12)


@fault("settings", BAD, "DEBUG is on")
def debugging(world: World) -> None:
    world.settings.DEBUG = True


@fault("settings", WARN, "ALLOWED_HOSTS allows every name")
def every_host(world: World) -> None:
    world.settings.ALLOWED_HOSTS = ["*"]


@fault("settings", BAD, "ALLOWED_HOSTS lacks train.example.org")
def host_not_allowed(world: World) -> None:
    behind_tls(world)
    world.settings.ALLOWED_HOSTS = ["localhost"]


@fault("settings", WARN, "(security.W012). [SECURE_COOKIES=true]")
def cookies_in_clear(world: World) -> None:
    behind_tls(world)
    world.settings.SESSION_COOKIE_SECURE = world.settings.CSRF_COOKIE_SECURE = False


@fault("settings", WARN, "is plain HTTP")
def plain_http(world: World) -> None:
    behind_tls(world)
    world.settings.CSRF_TRUSTED_ORIGINS = ["http://train.example.org"]


@fault("background", BAD, "No background process is running")
def background_stopped(world: World) -> None:
    SiteProcess.objects.filter(role="background").delete()


@fault("background", WARN, "The loop queue processing: Late")
def loop_late(world: World) -> None:
    Loop.objects.filter(pk="queue processing").update(last_started_at=timezone.now() - timedelta(hours=1))


@fault("background", WARN, "It failed with ValueError: no such thing")
def loop_failing(world: World) -> None:
    Loop.objects.filter(pk="budgets").update(
        last_outcome="failed", last_error="Traceback:\n  line 1\nValueError: no such thing"
    )


@fault("tasks", BAD, "Tasks waiting: 1, the oldest for 6")
def tasks_pile_up(world: World) -> None:
    OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload="x", lock=timezone.now() - timedelta(minutes=10))


@fault("tasks", BAD, "some run twice")
def tasks_handed_out_twice(world: World) -> None:
    world.patch(Conf, "RETRY", 61)


@fault("clocks", BAD, "The clock of two is +45.0 s off")
def clock_wrong(world: World) -> None:
    world.patch(background, "clock_offset", lambda: 0.1)
    beside(clock_offset_seconds=45.0)


@fault("configuration", BAD, "queue_procesing")
def key_misspelt(world: World) -> None:
    world.write_config("background:\n  queue_procesing:\n    interval_seconds: 5\n")


@fault("configuration", WARN, "[CLOUDTRAIN_TRUSTED_PROXIES=")
def variable_misspelt(world: World) -> None:
    world.setenv("CLOUDTRAIN_TRUSTED_PROXYS", "10.0.0.1")


@fault("mail", BAD, "does not accept the account: (535")
def mail_refused(world: World) -> None:
    world.settings.EMAIL_BACKEND = mail.SMTP
    world.patch(EmailBackend, "open", raising(smtplib.SMTPAuthenticationError(535, b"no")))


@fault("versions", WARN, "Older code is running on background on")
def code_outdated(world: World) -> None:
    SiteProcess.objects.filter(role="background").update(version="1.1.0", code="bbb")


@fault("versions", WARN, "No recent heartbeat from two")
def machine_silent(world: World) -> None:
    beside(silent_for=timedelta(minutes=5))


@fault("static-files", BAD, "[manage.py collectstatic --noinput]")
def static_files_missing(world: World) -> None:
    world.settings.STATIC_ROOT = str(world.folder / "static")


@fault("log-file", WARN, "nothing rotates it")
def log_not_rotated(world: World) -> None:
    path = world.folder / "cloud.log"
    with path.open("wb") as file:
        file.truncate(1_100_000_000)  # no blocks of the disk
    world.setenv("SIMPLETUNER_LOG_FILE", str(path))


@fault("open-files", WARN, "can open only 1,024 files")
def few_open_files(world: World) -> None:
    limits = world.folder / "limits"
    limits.write_text("Limit  Soft  Hard  Units\nMax open files            1024                 4096        files\n")
    world.patch("cloudtrain_site.doctor.operation.LIMITS", str(limits))


@fault("backups", WARN, "days old")
def backup_old(world: World) -> None:
    backup = backups_of(world) / "monday.tar"
    backup.touch()
    os.utime(backup, (1_700_000_000, 1_700_000_000))


@fault("backups", WARN, "days old")
def backup_killed(world: World) -> None:
    folder = backups_of(world)
    world.settings.BACKUP_DIR = ""
    (world.settings.DATA_DIR / "last_backup.json").write_text(json.dumps({"where": str(folder)}))
    whole = folder / "cloudtrain-20231114T221320Z" / "manifest.json"
    for path in (whole, folder / ".partial-cloudtrain-20261129T020000Z" / "database"):
        path.parent.mkdir()
        path.touch()
    os.utime(whole, (1_700_000_000, 1_700_000_000))


@fault("backups", BAD, "has no backup")
def backup_missing(world: World) -> None:
    backups_of(world)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_its_check_and_nothing_else_cries(name: str, world: World) -> None:
    FAULTS[name].is_found_alone(world)
