"""The admin's values: as on the dashboard, with one way for moments, amounts and names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule, Success

from cloudtrain_site.audit.recording import record
from cloudtrain_site.models import Loop, LoopRun
from jobs.models import Job, JobEvent, LedgerEntry, Organization
from jobs.models.ledger import EntryKind
from tests.settings_pages import text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
NIGHT = datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC)


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def read(client: Client, path: str) -> str:
    answer = client.get(f"/admin/{path}")
    assert answer.status_code == 200
    return text_of(answer)


def test_the_ledger_shows_amounts_days_and_names(as_root: Client, make_job: MakeJob, acme: Organization) -> None:
    job = make_job(config_name="portrait", number=12)
    entry = LedgerEntry.objects.create(
        job=job, sequence=1, kind=EntryKind.SETTLE, amount=Decimal("2.390000"), at=NIGHT, day=NIGHT.date(),
        provider="local", seconds=3600, per_second=Decimal("0.0015000000"), source="price", organization=acme,
    )  # fmt: skip
    assert "Settle, 30 Nov 2026 $2.39 30 Nov 2026, 23:59 UTC acme" in read(as_root, "jobs/ledgerentry/")
    page = read(as_root, f"jobs/ledgerentry/{entry.pk}/change/")
    assert "Settle of $2.39 for portrait #12" in page and "This machine" in page
    for shown in ("Day: 30 Nov 2026", "Time: 1 h", "Price: $0.0015 a second"):
        assert shown in page


def test_loops_say_what_their_runs_did(as_root: Client) -> None:
    loop = Loop.objects.create(name="job upkeep", interval_seconds=3600, last_duration_ms=2345)
    run = LoopRun.objects.create(
        loop=loop,
        duration_ms=35,
        outcome="ok",
        result={"curves": 2, "new_one": 1, "logs": 0},
        machine="vm",
        started_at=NIGHT,
    )
    assert "Waiting 1 h - 2.3 s" in read(as_root, "cloudtrain_site/loop/")
    page = read(as_root, f"cloudtrain_site/looprun/{run.pk}/change/")
    assert "Run of job upkeep" in page
    assert "Took: 35 ms" in page and "Result: trainings whose curves are kept: 2, new one: 1 Error" in page


def test_the_audit_record_is_in_words_and_leads_to_who_it_names(as_root: Client, root: User, alice: User) -> None:
    made = record("service_account_made", alice, by=root, after={"role": "admin", "muted": []})
    page = as_root.get(f"/admin/cloudtrain_site/auditrecord/{made.pk}/change/")
    text = text_of(page)
    assert "Made a service account: alice" in text and "muted: none role: admin" in text
    for user in (root, alice):
        assert f'<a href="/admin/auth/user/{user.pk}/change/">{user.username}</a>' in page.content.decode()
    gone = record("user_deleted", alice, by=root)
    alice.delete()
    page = as_root.get(f"/admin/cloudtrain_site/auditrecord/{gone.pk}/change/")
    assert ">alice</a>" not in page.content.decode()
    listed = read(as_root, "cloudtrain_site/auditrecord/?action=user_deleted")
    assert "root Deleted a user alice" in listed and "root Made a service account" not in listed


def test_a_jobs_history_is_told_as_on_its_page(as_root: Client, make_job: MakeJob) -> None:
    job = make_job()
    JobEvent.objects.create(
        job=job, subject="queue_entry", old="pending", new="dispatching", actor="dispatcher", source="api", at=NIGHT
    )
    page = read(as_root, f"jobs/job/{job.pk}/change/")
    assert "Sent to the provider" in page and "the API" in page
    assert "queue_entry" not in page and "Api" not in page


def test_background_tasks_are_named_as_all_else(as_root: Client) -> None:
    now = timezone.now()
    task = Success.objects.create(
        id="1" * 32, name="lamp-kilo", func="jobs.tasks.poll", success=True, args=(), kwargs={"every": 5.0},
        started=now, stopped=now,
    )  # fmt: skip
    Schedule.objects.create(
        name="polling", func="jobs.tasks.poll", schedule_type="C", cron="* * * * *", task=task.id, repeats=-1
    )
    schedules = read(as_root, "django_q/schedule/")
    assert "Add scheduled task" in schedules and "1 scheduled task" in schedules
    assert "* * * * * forever" in schedules and "Cron" not in schedules
    Loop.objects.create(name="polling", interval_seconds=90)
    assert "every 1 min 30 s forever" in read(as_root, "django_q/schedule/")
    assert f"{now:%-d %b %Y, %H:%M} UTC Succeeded" in schedules
    page = read(as_root, f"django_q/success/{task.id}/change/")
    assert "View successful task" in page and "every: 5.0" in page and "Took: 0 ms" in page
    assert "Pickled" not in page and "Dotted" not in page
    polling = Schedule.objects.get()
    edited = read(as_root, f"django_q/schedule/{polling.pk}/change/")
    assert "Date (UTC):" in edited and f"as stored: {polling.next_run:%-d %b %Y, %H:%M}" in edited
    assert "Scheduled tasks › polling" in edited and "Change scheduled task" in edited
    assert "Next run:" in edited and "stored in UTC" not in edited


def test_names_of_other_rows_are_isolated_from_their_numbers(
    as_root: Client, client: Client, make_job: MakeJob, bob: User, acme: Organization
) -> None:
    job = make_job(config_name="نموذج", number=12)
    shown = LedgerEntry.objects.create(
        job=job, sequence=1, kind=EntryKind.SETTLE, amount=1, at=NIGHT, day=NIGHT.date(), provider="local",
        organization=acme,
    )  # fmt: skip
    for user in (None, bob):
        if user is not None:
            client.force_login(user)
        page = client.get(f"/admin/jobs/ledgerentry/{shown.pk}/change/").content.decode()
        assert f'<a href="/admin/jobs/job/{job.pk}/change/"><bdi>نموذج</bdi> #12</a>' in page
