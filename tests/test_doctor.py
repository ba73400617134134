"""What the doctor finds: each fault by its own check, and nothing else cries. On a healthy site all is well."""

from __future__ import annotations

import json
import os
import smtplib
import tempfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.mail.backends.smtp import EmailBackend
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ

from approvals.models import ApprovalRule
from cloudtrain_site import encryption
from cloudtrain_site.database.failures import FULL
from cloudtrain_site.doctor import background, database, disks, files, mail
from cloudtrain_site.doctor.findings import Status
from cloudtrain_site.models import Loop, SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import MACHINE
from jobs.doctor import providers, webhooks
from jobs.models import ClusterLook, Job, JobAccount, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import view_data
from jobs.statuses import JobStatus
from queueing.models import QueueEntry
from tests.configuration import WriteConfig
from tests.doctor import found, healthy, process, raising, raising_later, returning_later  # noqa: F401
from tests.providers import ClusterProvider, ScriptedProvider
from tests.spending import run, spend

BAD, WARN = Status.BAD, Status.WARN
pytestmark = pytest.mark.usefixtures("healthy")


@pytest.fixture
def world(
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Path,
    write_config: WriteConfig,
    add_provider: Callable[[ScriptedProvider], None],
    alice: User,
    bob: User,
    make_job: Callable[..., Job],
) -> SimpleNamespace:
    """All that a fault may need."""
    write_config("background:\n")

    def add(provider: ScriptedProvider, **fields: Any) -> None:
        add_provider(provider)
        rates = {"cpu": 0.001, "gpu": 0.002}
        ProviderConfig.objects.create(
            **{"name": provider.name, "cost_per_second": rates, "prices_as_of": timezone.now().date(), **fields}
        )

    return SimpleNamespace(
        patch=monkeypatch.setattr,
        setenv=monkeypatch.setenv,
        settings=settings,
        folder=tmp_path,
        write_config=write_config,
        add=add,
        alice=alice,
        bob=bob,
        make_job=make_job,
    )


def behind_tls(world: SimpleNamespace) -> None:
    """As docs/deploying.md has it; nobody answers there."""
    settings = world.settings
    settings.CSRF_TRUSTED_ORIGINS, settings.ALLOWED_HOSTS = ["https://train.example.org"], ["train.example.org"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600


def with_webhook(world: SimpleNamespace, answer: httpx.Response, url: str = "https://train.example.org/") -> None:
    ProviderConfig.objects.filter(pk="replicate").update(webhook_url=url)
    world.patch(webhooks, "status_of", returning_later(answer))


def with_look(world: SimpleNamespace, **fields: Any) -> None:
    """A cluster that was looked at a moment ago."""
    provider = ClusterProvider()
    world.add(provider)
    seen = {"data": view_data(provider.view), "seen_at": timezone.now()}  # type: ignore[arg-type]
    ClusterLook.objects.create(**{"provider": provider.name, **seen, **fields})


def at_provider(world: SimpleNamespace, **fields: Any) -> None:
    """A job that was heard of a moment ago."""
    world.add(ScriptedProvider())
    known = {
        "provider": "scripted",
        "external_id": "x-1",
        "queued_at": timezone.now(),
        "last_synced_at": timezone.now(),
    }
    world.make_job(status=JobStatus.RUNNING, **{**known, **fields})


def backups_of(world: SimpleNamespace) -> Path:
    folder: Path = world.folder / "backups"
    folder.mkdir()
    world.settings.BACKUP_DIR = str(folder)
    return folder


def beside(**fields: Any) -> None:
    """Another machine, which this one has just replaced: two at once that share an SQLite file are another fault."""
    process("background", "two", **fields)
    SiteProcess.objects.filter(machine=MACHINE).update(started_at=timezone.now())


Break = Callable[[SimpleNamespace], object]
#: By a name: the check, how bad it is, what it says, and what breaks the site.
FAULTS: dict[str, tuple[str, Status, str, Break]] = {}


def fault(check: str, status: Status, text: str) -> Callable[[Break], Break]:
    def add(function: Break) -> Break:
        FAULTS[function.__name__] = (check, status, text, function)
        return function

    return add


@fault("database", BAD, "does not answer: server closed the connection. [Start the server, or set DATABASE_URL")
def database_away(world: SimpleNamespace) -> None:
    world.patch(database, "_round_trip", raising(OperationalError("server closed the connection\n\tat host")))


@fault("database", BAD, "The disk is full")
def database_full(world: SimpleNamespace) -> None:
    world.patch(database, "write_failure", lambda: FULL)


@fault("database", WARN, "takes 80.0 ms for a round trip")
def database_far_away(world: SimpleNamespace) -> None:
    world.patch(database, "_round_trip", lambda: 80.0)


@fault("migrations", BAD, "1 migrations are not applied: cloudtrain_site.0011_key_digest. [manage.py migrate]")
def migration_missing(world: SimpleNamespace) -> None:
    MigrationRecorder.Migration.objects.filter(app="cloudtrain_site", name="0011_key_digest").delete()


@fault("migrations", BAD, "of a newer version than this code: it has jobs.9999_future")
def database_newer(world: SimpleNamespace) -> None:
    MigrationRecorder.Migration.objects.create(app="jobs", name="9999_future")


@fault("data-folder", BAD, "Permission denied. [sudo chown -R ")
def folder_closed(world: SimpleNamespace) -> None:
    world.patch(tempfile, "NamedTemporaryFile", raising(PermissionError(13, "Permission denied")))


@fault("data-folder", BAD, "old.log in")
def folder_of_two_accounts(world: SimpleNamespace) -> None:
    (world.settings.DATA_DIR / "old.log").touch()
    owner_of = files._owner_of
    world.patch(files, "_owner_of", lambda path: 12345 if path.name == "old.log" else owner_of(path))


@fault("data-folder", BAD, "[chmod 600 ")
def key_readable_by_all(world: SimpleNamespace) -> None:
    (world.settings.DATA_DIR / "secret_key").chmod(0o644)


@fault("disk", BAD, "the largest upload, 1")
def disk_full(world: SimpleNamespace) -> None:
    world.patch(files, "free_bytes", lambda folder: 50_000_000)


@fault("disk", WARN, "in memory: a few uploads fill it. [TMPDIR=/var/tmp]")
def temporary_files_in_memory(world: SimpleNamespace) -> None:
    world.patch(files, "free_bytes", lambda folder: 10**10 if folder == world.settings.DATA_DIR else 2 * 10**8)
    world.patch(files, "mount_of", lambda folder: disks.Mount(folder, "tmpfs"))


@fault("disk", WARN, "room for 20 more files")
def inodes_used_up(world: SimpleNamespace) -> None:
    world.patch(files, "free_inodes", lambda folder: 20)


@fault("secret-key", BAD, "it can be guessed")
def key_short(world: SimpleNamespace) -> None:
    world.settings.SECRET_KEY = "letmein"


@fault("secret-key", BAD, "Another SECRET_KEY than here is used on two")
def key_of_its_own(world: SimpleNamespace) -> None:
    beside(key_digest="0" * 12)


@fault("sealed-secrets", BAD, "1 of 2 samples of the secrets of jobs don't open")
def former_key_forgotten(world: SimpleNamespace) -> None:
    world.make_job(sealed=encryption.seal([(("config", "hub_token"), "hf_of_now")]))
    key, world.settings.SECRET_KEY = world.settings.SECRET_KEY, "k" * 20 + "another key, of before" * 3
    world.make_job(sealed=encryption.seal([(("config", "hub_token"), "hf_of_before")]))
    world.settings.SECRET_KEY = key


@fault("settings", BAD, "DEBUG is on")
def debugging(world: SimpleNamespace) -> None:
    world.settings.DEBUG = True


@fault("settings", WARN, "ALLOWED_HOSTS takes every name")
def every_host(world: SimpleNamespace) -> None:
    world.settings.ALLOWED_HOSTS = ["*"]


@fault("settings", BAD, "ALLOWED_HOSTS lacks train.example.org")
def host_not_allowed(world: SimpleNamespace) -> None:
    behind_tls(world)
    world.settings.ALLOWED_HOSTS = ["localhost"]


@fault("settings", WARN, "(security.W012). [SECURE_COOKIES=true]")
def cookies_in_clear(world: SimpleNamespace) -> None:
    behind_tls(world)
    world.settings.SESSION_COOKIE_SECURE = world.settings.CSRF_COOKIE_SECURE = False


@fault("settings", WARN, "is plain HTTP")
def plain_http(world: SimpleNamespace) -> None:
    behind_tls(world)
    world.settings.CSRF_TRUSTED_ORIGINS = ["http://train.example.org"]


@fault("background", BAD, "No background process is running")
def background_stopped(world: SimpleNamespace) -> None:
    SiteProcess.objects.filter(role="background").delete()


@fault("background", WARN, "The loop queue processing: Late")
def loop_late(world: SimpleNamespace) -> None:
    Loop.objects.filter(pk="queue processing").update(last_started_at=timezone.now() - timedelta(hours=1))


@fault("background", WARN, "It failed with ValueError: no such thing")
def loop_failing(world: SimpleNamespace) -> None:
    Loop.objects.filter(pk="budgets").update(
        last_outcome="failed", last_error="Traceback:\n  line 1\nValueError: no such thing"
    )


@fault("tasks", BAD, "Tasks waiting: 1, the oldest for 6")
def tasks_pile_up(world: SimpleNamespace) -> None:
    OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload="x", lock=timezone.now() - timedelta(minutes=10))


@fault("tasks", BAD, "some run twice")
def tasks_handed_out_twice(world: SimpleNamespace) -> None:
    world.patch(Conf, "RETRY", 61)


@fault("clocks", BAD, "The clock of two is +45.0 s off")
def clock_wrong(world: SimpleNamespace) -> None:
    world.patch(background, "clock_offset", lambda: 0.1)
    beside(clock_offset_seconds=45.0)


@fault("configuration", BAD, "queue_procesing")
def key_misspelt(world: SimpleNamespace) -> None:
    world.write_config("background:\n  queue_procesing:\n    interval_seconds: 5\n")


@fault("configuration", WARN, "[CLOUDTRAIN_TRUSTED_PROXIES=")
def variable_misspelt(world: SimpleNamespace) -> None:
    world.setenv("CLOUDTRAIN_TRUSTED_PROXYS", "10.0.0.1")


@fault("providers", BAD, "Scripted: the token is not valid")
def token_refused(world: SimpleNamespace) -> None:
    provider = ScriptedProvider()
    world.patch(provider, "validate", raising_later(ProviderError("the token is not valid")))
    world.add(provider)


@fault("providers", BAD, "is not set to a single word")
def token_of_two_words(world: SimpleNamespace) -> None:
    world.setenv("REPLICATE_API_TOKEN", "r8_one two")


@fault("provider-clocks", WARN, "clock is +12 s off that of scripted")
def clock_unlike_the_providers(world: SimpleNamespace) -> None:
    world.add(ScriptedProvider())
    world.patch(providers, "_address_of", lambda name: "http://x" if name == "scripted" else "")
    world.patch(providers, "_offset", returning_later(12.0))


@fault("webhooks", BAD, "redirects to https://elsewhere/: deliveries don't follow")
def webhook_redirected(world: SimpleNamespace) -> None:
    with_webhook(world, httpx.Response(301, headers={"Location": "https://elsewhere/"}))


@fault("webhooks", BAD, "answers 404: it is not this site's")
def webhook_elsewhere(world: SimpleNamespace) -> None:
    with_webhook(world, httpx.Response(404))


@fault("webhooks", BAD, "is this machine's own")
def webhook_to_localhost(world: SimpleNamespace) -> None:
    with_webhook(world, httpx.Response(405), "http://localhost:8001/")


@fault("clusters", BAD, "Lab could not be asked: Connection refused")
def cluster_away(world: SimpleNamespace) -> None:
    with_look(world, error="Connection refused.", error_at=timezone.now())


@fault("clusters", WARN, "Lab can never run gpu: No node has 8 GPUs")
def profile_unrunnable(world: SimpleNamespace) -> None:
    with_look(world, unrunnable={"gpu": "No node has 8 GPUs."})


@fault("clusters", WARN, "has not been looked at lately")
def cluster_not_looked_at(world: SimpleNamespace) -> None:
    with_look(world, seen_at=timezone.now() - timedelta(hours=1))


@fault("prices", WARN, "scripted: gpu has no price")
def price_missing(world: SimpleNamespace) -> None:
    world.add(ScriptedProvider(), cost_per_second={"cpu": 0.001})


@fault("prices", WARN, "were last looked up on")
def price_old(world: SimpleNamespace) -> None:
    world.add(ScriptedProvider(), prices_as_of=timezone.now().date() - timedelta(days=91))


@fault("prices", WARN, "cost 3.00 times their estimates")
def estimates_too_low(world: SimpleNamespace) -> None:
    for _ in range(10):
        spend(
            timezone.now().date(), "3", estimated_cost_usd=Decimal(1), estimate_source="from 7 runs", provider="local"
        )


@fault("approvals", BAD, "What the rule cost_exceeds holds in acme can't be decided: it needs 2 of the leads")
def too_few_reviewers(world: SimpleNamespace) -> None:
    ApprovalRule.objects.filter(name="cost_exceeds").update(approvals_needed=2)


@fault("mail", BAD, "does not take our account: (535")
def mail_refused(world: SimpleNamespace) -> None:
    world.settings.EMAIL_BACKEND = mail.SMTP
    world.patch(EmailBackend, "open", raising(smtplib.SMTPAuthenticationError(535, b"no")))


@fault("ledger", BAD, "its account says $5.000000 spent")
def ledger_differs(world: SimpleNamespace) -> None:
    job = spend(timezone.now().date(), "3")
    JobAccount.objects.filter(job=job).update(spent=5)


@fault("ledger", BAD, "it has ended, and $2")
def ended_job_holds(world: SimpleNamespace) -> None:
    job = run("2")
    Job.objects.filter(pk=job.pk).update(
        status=JobStatus.FAILED, completed_at=timezone.now(), last_synced_at=timezone.now()
    )


@fault("in-flight", BAD, "have not confirmed it for 10 minutes: ")
def cancellation_unconfirmed(world: SimpleNamespace) -> None:
    at_provider(world, cancel_requested_at=timezone.now() - timedelta(minutes=11))


@fault("in-flight", BAD, "nobody knows whether their providers have them")
def submission_unconfirmed(world: SimpleNamespace) -> None:
    job = world.make_job()
    QueueEntry.objects.create(job=job, provider="local", turn=1.0, unconfirmed_at=timezone.now())


@fault("in-flight", WARN, "Strays")
def stray(world: SimpleNamespace) -> None:
    at_provider(world, metadata={"stray_of": "x"})


@fault("in-flight", WARN, "Nothing was heard of them for half an hour")
def job_silent(world: SimpleNamespace) -> None:
    at_provider(world, last_synced_at=timezone.now() - timedelta(minutes=31))


@fault("versions", WARN, "Not the newest code is run by background on")
def code_outdated(world: SimpleNamespace) -> None:
    SiteProcess.objects.filter(role="background").update(version="1.1.0", code="bbb")


@fault("versions", WARN, "No heartbeat has come lately from two")
def machine_silent(world: SimpleNamespace) -> None:
    beside(silent_for=timedelta(minutes=5))


@fault("static-files", BAD, "[manage.py collectstatic --noinput]")
def static_files_missing(world: SimpleNamespace) -> None:
    world.settings.STATIC_ROOT = str(world.folder / "static")


@fault("log-file", WARN, "nothing rotates it")
def log_not_rotated(world: SimpleNamespace) -> None:
    path = world.folder / "cloud.log"
    with path.open("wb") as file:
        file.truncate(1_100_000_000)  # no blocks of the disk
    world.setenv("SIMPLETUNER_LOG_FILE", str(path))


@fault("open-files", WARN, "may open 1,024 files")
def few_open_files(world: SimpleNamespace) -> None:
    limits = world.folder / "limits"
    limits.write_text("Limit  Soft  Hard  Units\nMax open files            1024                 4096        files\n")
    world.patch("cloudtrain_site.doctor.operation.LIMITS", str(limits))


@fault("backups", WARN, "days old")
def backup_old(world: SimpleNamespace) -> None:
    backup = backups_of(world) / "monday.tar"
    backup.touch()
    os.utime(backup, (1_700_000_000, 1_700_000_000))


@fault("backups", WARN, "days old")
def backup_killed(world: SimpleNamespace) -> None:
    folder = backups_of(world)
    world.settings.BACKUP_DIR = ""
    (world.settings.DATA_DIR / "last_backup.json").write_text(json.dumps({"where": str(folder)}))
    whole = folder / "cloudtrain-20231114T221320Z" / "manifest.json"
    for path in (whole, folder / ".partial-cloudtrain-20261129T020000Z" / "database"):
        path.parent.mkdir()
        path.touch()
    os.utime(whole, (1_700_000_000, 1_700_000_000))


@fault("backups", BAD, "has no backup")
def backup_missing(world: SimpleNamespace) -> None:
    backups_of(world)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_by_its_check_and_nothing_else_cries(name: str, world: SimpleNamespace) -> None:
    check, status, text, break_site = FAULTS[name]
    break_site(world)
    answer = found()
    assert set(answer) == {check}
    assert answer[check][0] == status
    assert text in answer[check][1]
