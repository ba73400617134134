"""What is kept for a time goes after it, in short transactions, and the site says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from math import inf

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone
from django_q.models import Task

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.retention import OTHERS, Retention, as_text
from cloudtrain_site.database import batches
from cloudtrain_site.database.batches import delete_in_batches, next_size
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.extensions import kept
from cloudtrain_site.models import Loop, LoopRun
from cloudtrain_site.retention.runs import last_removal, remove_old
from jobs.logs import read_log
from jobs.models import Job, LogPiece
from tests.factories import make_job

pytestmark = pytest.mark.django_db
WriteConfig = Callable[[str], object]


def test_each_setting_has_something_that_is_kept() -> None:
    assert set(kept) - {"idempotency_keys"} == set(Retention.__dataclass_fields__) - OTHERS


def test_only_what_is_older_than_the_setting_goes(write_config: WriteConfig, caplog: pytest.LogCaptureFixture) -> None:
    write_config("retention:\n  audit: 30 days\n  sessions: 36 hours\n  tasks: forever\n")
    now = timezone.now()
    for days in (1, 29, 31):
        at = now - timedelta(days=days)
        AuditRecord.objects.create(at=at, action="a", actor="b", source="page", correlation_id="c")
        Session.objects.create(session_key=str(days), expire_date=at)
        Task.objects.create(id=str(days), name="t", func="f", started=at, stopped=at)
    with caplog.at_level(logging.INFO, logger="simpletuner.cloud.background"):
        counts = remove_old(now)
    assert {name: count for name, count in counts.items() if count} == {"audit": 1, "sessions": 2}
    assert "tasks" not in counts
    assert (AuditRecord.objects.count(), Task.objects.count()) == (2, 3)
    assert Session.objects.get().session_key == "1"
    (line,) = [record for record in caplog.records if record.getMessage() == "Removed what was kept long enough"]
    assert line.__dict__["audit"] == 1


def test_by_default_the_audit_and_logs_stay_for_ever() -> None:
    long_ago = timezone.now() - timedelta(days=4000)
    AuditRecord.objects.create(at=long_ago, action="a", actor="b", source="page", correlation_id="c")
    assert not {"audit", "logs", "notices"} & remove_old(timezone.now()).keys()
    assert AuditRecord.objects.exists()


def test_an_old_jobs_log_goes_and_counts_as_complete(write_config: WriteConfig, alice: User) -> None:
    write_config("retention:\n  logs: 8 weeks\n")
    old, young = timezone.now() - timedelta(days=60), timezone.now() - timedelta(days=50)
    jobs = [
        make_job(provider="replicate", external_id=f"p{n}", status=status, completed_at=at, started_at=at, log_size=5)
        for n, (status, at) in enumerate([("completed", old), ("completed", young), ("running", None)])
    ]
    for job in jobs:
        LogPiece.objects.create(job=job, start=0, end=5, text="12345")
    assert remove_old(timezone.now())["logs"] == 1
    assert set(LogPiece.objects.values_list("job", flat=True)) == {jobs[1].pk, jobs[2].pk}
    piece = read_log(Job.objects.get(pk=jobs[0].pk))
    assert (piece.text, piece.complete) == ("", True)


def test_the_health_page_says_what_the_last_run_removed() -> None:
    assert last_removal() == "The last run found nothing old to remove."
    Loop.objects.create(name="housekeeping", interval_seconds=3600, last_result={"tasks": 12, "events": 0, "brakes": 1})
    assert last_removal() == "Removed by the last run: finished tasks: 12."


class TestBatches:
    def test_all_rows_go_in_batches_that_grow(self) -> None:
        row = Loop.objects.create(name="test loop", interval_seconds=5)
        LoopRun.objects.bulk_create(LoopRun(loop=row, duration_ms=1, outcome="ok") for _ in range(250))
        assert delete_in_batches(LoopRun.objects.all(), until=inf) == 250
        assert not LoopRun.objects.exists()

    def test_none_begins_when_the_time_is_over(self) -> None:
        Loop.objects.create(name="test loop", interval_seconds=5)
        assert delete_in_batches(Loop.objects.all(), until=time.monotonic()) == 0
        assert Loop.objects.exists()

    def test_a_slow_batch_is_followed_by_a_smaller_one(self) -> None:
        assert next_size(100, batches.LONG_SECONDS * 1.1) == 50
        assert next_size(1, 1.0) == 1
        assert next_size(100, batches.SHORT_SECONDS / 2) == 200
        assert next_size(batches.MAX_BATCH, 0.0) == batches.MAX_BATCH
        assert next_size(100, (batches.LONG_SECONDS + batches.SHORT_SECONDS) / 2) == 100


class TestSetting:
    @pytest.mark.parametrize(
        "text", ["30", "30 minutes", "0 days", "-1 days", "1.5 days", "for ever", "99999 weeks", "1 day 2 hours"]
    )
    def test_a_bad_time_names_its_key_and_what_is_allowed(self, write_config: WriteConfig, text: str) -> None:
        write_config(f"retention:\n  audit: {text}\n")
        with pytest.raises(ConfigurationError, match=r"retention\.audit.*36 hours, 30 days or 8 weeks"):
            get_enterprise_config()

    @pytest.mark.parametrize(
        ("text", "shown"),
        [("36 hours", "36 hours"), ("1 day", "1 day"), ("8 weeks", "56 days"), ("forever", "forever")],
    )
    def test_a_time_is_shown_as_it_may_be_written(self, write_config: WriteConfig, text: str, shown: str) -> None:
        write_config(f"retention:\n  audit: {text}\n")
        assert as_text(get_enterprise_config().retention.audit) == shown
