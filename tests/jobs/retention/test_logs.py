"""The files of old logs go: of this machine and of a shared folder; others stay, and so do the results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs import logs
from jobs.models import Job, KeptCurves
from jobs.outputs.store import folder_of
from jobs.retention.logs import remove_old
from jobs.statuses import JobStatus
from tests.jobs.outputs.aged import days_ago

pytestmark = pytest.mark.django_db
BEFORE = timezone.now() - timedelta(days=90)


def log_of(job: Job, data_dir: Path) -> Path:
    return data_dir / "jobs" / job.pk / "train.log"


def with_log(trained: Callable[..., Job], data_dir: Path, **fields: Any) -> Job:
    job = trained({"model.safetensors": b"1"}, **fields)
    log_of(job, data_dir).write_text("step 1: loss 0.5\n")
    KeptCurves.objects.create(job=job, requested_at=timezone.now())
    return job


def test_only_logs_of_old_ended_jobs_go_and_their_results_stay(trained: Callable[..., Job], tmp_path: Path) -> None:
    old = with_log(trained, tmp_path, **days_ago(91))
    young = with_log(trained, tmp_path, **days_ago(89))
    runs = with_log(trained, tmp_path, status=JobStatus.RUNNING, **{**days_ago(91), "completed_at": None})

    assert (remove_old(BEFORE, inf), remove_old(BEFORE, inf)) == (1, 0)

    assert [log_of(job, tmp_path).exists() for job in (old, young, runs)] == [False, True, True]
    assert set(KeptCurves.objects.values_list("job", flat=True)) == {young.pk, runs.pk}
    folder = folder_of(old)
    assert folder and [file.path for file in folder.files()] == ["model.safetensors"]
    assert logs.read_log(old).text == ""
    assert Job.objects.get(pk=old.pk).log_removed_at is not None


def test_a_log_on_another_machine_is_left_to_that(make_job: Callable[..., Job], settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    job = make_job(
        provider="local", status=JobStatus.COMPLETED, external_id="01arz3ndektsv4rrffq69g5fav", **days_ago(91)
    )
    assert remove_old(BEFORE, inf) == 0
    assert Job.objects.get(pk=job.pk).log_removed_at is None


def test_a_log_that_can_not_be_removed_keeps_no_other(trained: Callable[..., Job], tmp_path: Path) -> None:
    made = [with_log(trained, tmp_path, **days_ago(91)) for _ in range(3)]
    stuck, *others = sorted(made, key=attrgetter("pk"))
    log_of(stuck, tmp_path).unlink()
    log_of(stuck, tmp_path).mkdir()
    assert remove_old(BEFORE, inf) == 2
    assert not any(log_of(job, tmp_path).exists() for job in others)
    assert Job.objects.get(pk=stuck.pk).log_removed_at is None
    assert KeptCurves.objects.get().job_id == stuck.pk


def test_without_time_nothing_goes(trained: Callable[..., Job], tmp_path: Path) -> None:
    job = with_log(trained, tmp_path, **days_ago(91))
    assert remove_old(BEFORE, 0.0) == 0
    assert log_of(job, tmp_path).exists()
