"""What is removed of a job that was deleted, and what is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from cloudtrain_site.states import Actor, Source
from jobs import lifecycle, logs, maintenance, tasks
from jobs.datasets import store
from jobs.models import DatasetUpload, Job, LogPiece, Organization
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
delete = partial(lifecycle.delete, actor=Actor(name="alice"), source=Source.API)


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def ended(make_job: MakeJob, data_dir: Path) -> Job:
    """A completed training of this machine, with all that those leave."""
    job = make_job(status=JobStatus.COMPLETED)
    job.external_id = job.pk
    job.save(update_fields=["external_id"])
    leave_files(data_dir, job)
    return job


def leave_files(data_dir: Path, job: Job) -> Path:
    folder = data_dir / "jobs" / job.pk
    for name in ("output", "dataset"):
        (folder / name).mkdir(parents=True)
    for name in ("config.json", "train.log", "dataset/a.png", "output/checkpoint-10"):
        (folder / name).write_text(name)
    started = {"marker": "ct-1", "host": "h", "boot_id": "b", "started_at": timezone.now().isoformat()}
    nobody = {"pid": 0, "start": 0}
    (folder / "process.json").write_text(json.dumps({**started, "runner": nobody, "trainer": nobody}))
    over = {"exit_code": 0, "stopped": False, "error": None, "ended_at": timezone.now().isoformat()}
    (folder / "exit.json").write_text(json.dumps(over))
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def left_of(data_dir: Path, job: Job) -> list[str]:
    return files_in(data_dir / "jobs" / job.pk)


def long_ago(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(deleted_at=timezone.now() - timedelta(hours=1))


class TestFiles:
    def test_a_deletion_asks_for_its_files_to_be_removed(
        self, ended: Job, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            assert delete(ended)
        tasks = [SignedPackage.loads(row.payload) for row in OrmQ.objects.all()]
        assert [(task["func"], task["args"]) for task in tasks] == [("jobs.tasks.clear_away", (ended.pk,))]

    def test_all_goes_but_what_it_made(self, ended: Job, data_dir: Path) -> None:
        markers = data_dir / "jobs" / "markers"
        markers.mkdir()
        (markers / "ct-1").symlink_to(Path("..") / ended.pk)
        assert delete(ended)
        assert tasks.clear_away(ended.pk)
        assert tasks.clear_away(ended.pk)
        assert files_in(data_dir / "jobs") == [f"{ended.pk}/output/checkpoint-10"]

    def test_one_that_made_nothing_leaves_nothing(self, ended: Job, data_dir: Path) -> None:
        (data_dir / "jobs" / ended.pk / "output" / "checkpoint-10").unlink()
        assert delete(ended)
        assert tasks.clear_away(ended.pk)
        assert not (data_dir / "jobs" / ended.pk).exists()

    def test_a_job_that_was_not_deleted_keeps_all(self, ended: Job, data_dir: Path) -> None:
        assert not tasks.clear_away(ended.pk)
        assert len(left_of(data_dir, ended)) == 6

    def test_a_training_that_still_runs_keeps_all(self, ended: Job, data_dir: Path) -> None:
        """Whatever our row says: the folder knows better. On another machine, it seems, it has not ended."""
        (data_dir / "jobs" / ended.pk / "exit.json").unlink()
        assert delete(ended)
        assert not tasks.clear_away(ended.pk)
        assert len(left_of(data_dir, ended)) == 5

    def test_no_link_is_followed(self, ended: Job, data_dir: Path, make_job: MakeJob) -> None:
        outside = data_dir / "elsewhere"
        outside.mkdir()
        (outside / "precious").touch()
        (data_dir / "jobs" / ended.pk / "linked").symlink_to(outside)
        whole = make_job(status=JobStatus.FAILED)
        (data_dir / "jobs" / whole.pk).symlink_to(outside)
        for job in (ended, whole):
            assert delete(job)
        assert tasks.clear_away(ended.pk)
        assert not tasks.clear_away(whole.pk)
        assert files_in(outside) == ["precious"]
        assert left_of(data_dir, ended) == ["output/checkpoint-10"]

    def test_another_jobs_folder_stays(self, ended: Job, data_dir: Path, make_job: MakeJob) -> None:
        other = make_job(status=JobStatus.COMPLETED)
        leave_files(data_dir, other)
        assert delete(ended)
        assert tasks.clear_away(ended.pk)
        assert len(left_of(data_dir, other)) == 6


class TestSweep:
    def test_what_a_crash_left_is_removed(self, ended: Job, data_dir: Path) -> None:
        assert delete(ended)
        long_ago(ended)
        half = data_dir / "jobs" / "removed" / "before.1"
        half.mkdir(parents=True)
        (half / "train.log").touch()
        assert maintenance.sweep() == 1
        assert files_in(data_dir / "jobs") == [".cleared", f"{ended.pk}/output/checkpoint-10"]

    def test_it_looks_once_an_hour(self, ended: Job, data_dir: Path) -> None:
        assert maintenance.sweep() == 0
        assert delete(ended)
        long_ago(ended)
        assert maintenance.sweep() == 0
        os.utime(data_dir / "jobs" / maintenance.SWEPT_MARK, (time.time() - 4000,) * 2)
        assert maintenance.sweep() == 1
        os.utime(data_dir / "jobs" / maintenance.SWEPT_MARK, (time.time() - 4000,) * 2)
        assert maintenance.sweep() == 0

    def test_it_leaves_alone_what_was_just_deleted_what_was_not_and_what_it_does_not_know(
        self, ended: Job, data_dir: Path, make_job: MakeJob
    ) -> None:
        kept = make_job(status=JobStatus.COMPLETED)
        leave_files(data_dir, kept)
        unknown = data_dir / "jobs" / "01arz3ndektsv4rrffq69g5fav"
        unknown.mkdir()
        (unknown / "train.log").touch()
        assert delete(ended)
        assert maintenance.sweep() == 0
        assert len(files_in(data_dir / "jobs")) == 6 + 6 + 1 + 1

    def test_a_machine_without_trainings_has_nothing_to_do(self, data_dir: Path) -> None:
        assert maintenance.sweep() == 0
        assert list(data_dir.iterdir()) == []


class TestLog:
    def test_a_captured_log_goes_with_its_job_and_does_not_come_back(self, make_job: MakeJob) -> None:
        gone, other = (make_job(provider="replicate", status=JobStatus.COMPLETED) for _ in range(2))
        for job in (gone, other):
            LogPiece.objects.create(job=job, start=0, end=1, text="a")
        late = Job.objects.get(pk=gone.pk)
        assert delete(gone)
        assert not logs.store_log(late, Snapshot("x", JobStatus.COMPLETED, log="a late one"))
        assert [piece.job_id for piece in LogPiece.objects.all()] == [other.pk]


class TestDataset:
    @pytest.fixture
    def archive(self, alice: User, acme: Organization) -> DatasetUpload:
        store.folder().mkdir()
        numbers: dict[str, Any] = {"size": 1, "sha256": "0" * 64, "files": 1, "unpacked_size": 1}
        made = DatasetUpload.objects.create(
            organization=acme, uploaded_by=alice, name="a.zip", kind="zip", stored_on="h", **numbers
        )
        store.path_of(made).touch()
        return made

    @pytest.mark.usefixtures("committed")
    def test_an_archive_stays_while_another_job_has_it(self, archive: DatasetUpload, make_job: MakeJob) -> None:
        first, second = (make_job(dataset=archive, status=JobStatus.COMPLETED) for _ in range(2))
        delete(first)
        tasks.clear_away(first.pk)
        archive.refresh_from_db()
        assert archive.removed_at is None
        delete(second)
        tasks.clear_away(second.pk)
        archive.refresh_from_db()
        assert archive.removed_at is not None

    def test_its_file_goes_at_the_commit(
        self, archive: DatasetUpload, make_job: MakeJob, django_capture_on_commit_callbacks: Any
    ) -> None:
        job = make_job(dataset=archive, status=JobStatus.COMPLETED)
        delete(job)
        with django_capture_on_commit_callbacks(execute=True):
            tasks.clear_away(job.pk)
        assert not store.path_of(archive).exists()

    def test_somebody_elses_archive_stays(self, archive: DatasetUpload, make_job: MakeJob, bob: User) -> None:
        job = make_job(dataset=archive, submitted_by=bob, status=JobStatus.COMPLETED)
        delete(job)
        tasks.clear_away(job.pk)
        archive.refresh_from_db()
        assert archive.removed_at is None
