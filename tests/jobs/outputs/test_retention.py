"""What ended trainings wrote goes as `retention` says: announced, never what is pinned or in use, and after a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.retention import Retention
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import kept
from cloudtrain_site.notices.models import Notice
from jobs.models import Job, OutputFetch, StoredOutput
from jobs.outputs import keeping, measuring, retention
from jobs.outputs.retention import GB, Stored, due_removals
from jobs.outputs.store import absence_of, folder_of
from jobs.statuses import JobStatus
from tests.jobs.outputs.aged import FILES, age
from tests.jobs.pictures import output_of, png

pytestmark = pytest.mark.django_db
MakeTrained = Callable[..., Job]
NOW = timezone.now()


def due_now() -> None:
    """Let the time of each announcement have passed."""
    StoredOutput.objects.exclude(remove_at=None).update(remove_at=timezone.now() - timedelta(seconds=1))


def names(job: Job) -> set[str]:
    folder = folder_of(job)
    return {file.path for file in folder.files()} if folder else set()


def reasons(job: Job) -> list[str]:
    return [event.reason for event in job.events.all() if event.old == event.new]


class TestDecision:
    def stored(self, job_id: str, days: float, size: int = GB, **fields: Any) -> Stored:
        values = {"organization_id": 1, "checkpoints": 0, "is_pinned": False, **fields}
        return Stored(job_id, ended_at=NOW - timedelta(days=days), size=size, **values)

    def test_without_a_setting_nothing_goes(self) -> None:
        assert due_removals([self.stored("a", 9999, checkpoints=99)], Retention(), NOW) == {}

    def test_the_old_go_and_are_announced_before(self) -> None:
        settings = Retention(outputs=timedelta(days=90), announced=timedelta(days=7))
        items = [self.stored("due", 91), self.stored("soon", 83), self.stored("later", 82)]
        assert due_removals(items, settings, NOW) == {"due": "outputs", "soon": "outputs"}

    def test_of_too_much_the_oldest_go(self) -> None:
        settings = Retention(outputs_gb=2)
        items = [self.stored("b", 2), self.stored("a", 3), self.stored("c", 1)]
        assert due_removals(items, settings, NOW) == {"a": "outputs_gb"}

    def test_each_organization_has_its_own_room(self) -> None:
        settings = Retention(outputs_gb=2)
        items = [self.stored(str(number), number, organization_id=number) for number in range(4)]
        assert due_removals(items, settings, NOW) == {}

    def test_what_is_pinned_takes_room_and_stays(self) -> None:
        settings = Retention(outputs_gb=1, outputs=timedelta(days=9), checkpoints=1)
        items = [self.stored("pinned", 99, 2 * GB, is_pinned=True, checkpoints=5), self.stored("free", 0)]
        assert due_removals(items, settings, NOW) == {"free": "outputs_gb"}

    def test_older_checkpoints_go_alone(self) -> None:
        items = [self.stored("many", 0, checkpoints=3), self.stored("few", 0, checkpoints=2)]
        assert due_removals(items, Retention(checkpoints=2), NOW) == {"many": "checkpoints"}


def test_a_removal_is_announced_before_it_is_done(old: MakeTrained, alice: User, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n  announced: 3 days\n")
    job, young = old(submitted_by=alice), old(days=80, submitted_by=alice)
    assert retention.run(None, inf) == 0
    row = StoredOutput.objects.get(pk=job.pk)
    assert (row.files, row.checkpoints, row.size) == (6, 3, 50 + len(png()))
    assert row.remove_at is not None
    assert timedelta(days=2, hours=23) < row.remove_at - timezone.now() < timedelta(days=3)
    notice = Notice.objects.get(kind="outputs_removal")
    assert (notice.job_id, notice.users, notice.link) == (job.pk, [alice.pk], f"/jobs/{job.pk}/results")
    assert reasons(job) == [
        f"All files will be removed on {row.remove_at:%-d %b %Y}: results are kept for a limited time"
    ]
    assert retention.run(None, inf) == 0
    assert Notice.objects.filter(kind="outputs_removal").count() == 1
    assert names(job) == names(young) == set(FILES)
    due_now()
    assert retention.run(None, inf) == 1
    assert (names(job), names(young)) == (set(), set(FILES))
    assert reasons(job)[-1].startswith("Removed all files, ")
    assert absence_of(job).startswith("Removed all files, ")
    assert output_of(job, folder_of(young).root.parents[2]).is_dir()  # type: ignore[union-attr]
    assert retention.run(None, inf) == 0


def test_the_newest_checkpoints_of_a_run_stay(old: MakeTrained, write_config: Any) -> None:
    write_config("retention:\n  checkpoints: 2\n")
    job = old(days=1)
    retention.run(None, inf)
    due_now()
    assert retention.run(None, inf) == 1
    assert names(job) == set(FILES) - {"checkpoint-10/model.safetensors", "lora-step00000010.safetensors"}
    assert StoredOutput.objects.get(pk=job.pk).checkpoints == 2
    assert absence_of(job) == ""
    retention.run(None, inf)
    assert StoredOutput.objects.get(pk=job.pk).remove_at is None


def test_what_is_pinned_stays_until_it_is_released(old: MakeTrained, alice: User, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    due_now()
    assert keeping.pin(job, by=alice)
    assert not keeping.pin(job, by=alice)
    assert retention.run(None, inf) == 0
    assert names(job) == set(FILES)
    assert keeping.release(job, by=alice)
    assert not keeping.release(job, by=alice)
    retention.run(None, inf)
    assert names(job) == set(FILES)  # it is announced anew
    assert StoredOutput.objects.get(pk=job.pk).remove_at > timezone.now()  # type: ignore[operator]
    assert reasons(job)[1:3] == ["results pinned", "results released"]
    assert set(AuditRecord.objects.values_list("action", flat=True)) == {"results pinned", "results released"}


def test_a_removal_that_has_begun_is_not_pinned_away(old: MakeTrained, alice: User) -> None:
    job = old()
    StoredOutput.objects.create(job=job, remove_at=timezone.now(), cause="outputs", begun_at=timezone.now())
    with pytest.raises(Conflict):
        keeping.pin(job, by=alice)
    assert reasons(job) == []


def test_the_database_refuses_a_pinned_removal(old: MakeTrained) -> None:
    values = {"remove_at": timezone.now(), "cause": "outputs", "pinned_at": timezone.now()}
    with pytest.raises(IntegrityError), transaction.atomic():
        StoredOutput.objects.create(job=old(), **values)


def test_an_announcement_that_no_setting_wants_is_taken_back(old: MakeTrained, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    write_config("retention:\n  outputs: forever\n")
    due_now()
    assert retention.run(None, inf) == 0
    assert names(job) == set(FILES)
    assert reasons(job)[-1] == "its files stay"


@pytest.mark.parametrize("way", ["config", "retry", "checkpoint"])
def test_the_files_that_an_open_job_goes_on_from_stay(
    old: MakeTrained, make_job: Callable[..., Job], write_config: Any, way: str
) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    due_now()
    checkpoint = f"/data/jobs/{job.pk}/output/checkpoint-30"
    ways: dict[str, dict[str, Any]] = {
        "config": {"config": {"resume_from_checkpoint": checkpoint}},
        "retry": {"retry_of": job},
        "checkpoint": {"checkpoint_of": job, "checkpoint": "checkpoint-30"},
    }
    going = make_job(status=JobStatus.RUNNING, started_at=timezone.now(), **ways[way])
    assert retention.run(None, inf) == 0
    assert names(job) == set(FILES)
    now = timezone.now()
    Job.objects.filter(pk=going.pk).update(status=JobStatus.COMPLETED, completed_at=now)
    retention.run(None, inf)
    due_now()
    assert retention.run(None, inf) == 1


def test_the_folder_of_a_running_training_is_not_touched(trained: MakeTrained, write_config: Any) -> None:
    write_config("retention:\n  outputs: 1 hour\n  checkpoints: 1\n  announced: 1 hour\n")
    job = trained(FILES, status=JobStatus.RUNNING, started_at=timezone.now() - timedelta(days=9))
    StoredOutput.objects.create(job=job, size=9, checkpoints=9, remove_at=timezone.now(), cause="outputs")
    for _ in range(2):
        assert retention.run(None, inf) == 0
    assert names(job) == set(FILES)
    assert StoredOutput.objects.get(pk=job.pk).remove_at is None


def test_a_folder_that_is_still_written_is_left_for_later(old: MakeTrained, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    due_now()
    folder = folder_of(job)
    assert folder is not None
    (folder.root / "model.safetensors").write_bytes(b"more")
    assert retention.run(None, inf) == 0
    age(job)
    assert retention.run(None, inf) == 1


def test_no_link_is_followed(old: MakeTrained, tmp_path: Path, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    others = tmp_path / "others"
    others.mkdir()
    (others / "keep").write_text("mine")
    job = old()
    folder = folder_of(job)
    assert folder is not None
    (folder.root / "link").symlink_to(others)
    (folder.root / "checkpoint-10" / "link").symlink_to(others / "keep")
    (folder.root / "dangling").symlink_to("/nowhere")
    age(job)
    retention.run(None, inf)
    due_now()
    assert retention.run(None, inf) == 1
    assert list(folder.root.iterdir()) == []
    assert (others / "keep").read_text() == "mine"


def test_a_checkpoint_that_became_a_link_is_not_followed(old: MakeTrained, tmp_path: Path, write_config: Any) -> None:
    write_config("retention:\n  checkpoints: 1\n")
    job = old()
    retention.run(None, inf)
    due_now()
    folder = folder_of(job)
    assert folder is not None
    others = tmp_path / "others"
    (folder.root / "checkpoint-10").rename(others)
    (folder.root / "checkpoint-10").symlink_to(others)
    age(job)
    retention.run(None, inf)
    assert (others / "model.safetensors").exists()


def test_a_removal_that_is_cut_is_continued(
    old: MakeTrained, write_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    due_now()
    removed: list[str] = []

    def unlink(name: str, *, dir_fd: int) -> None:
        if removed:
            raise KeyboardInterrupt  # as a kill: no handler of ours runs
        os.remove(name, dir_fd=dir_fd)  # refuses a folder
        removed.append(name)

    with monkeypatch.context() as patched:
        patched.setattr("jobs.providers.emptying.os.unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            retention.run(None, inf)
    row = StoredOutput.objects.get(pk=job.pk)
    assert row.begun_at is not None
    assert absence_of(job) == "The files are being removed."
    assert 0 < len(names(job)) < len(FILES)
    assert retention.run(None, inf) == 1
    assert names(job) == set()
    assert sum(reason.startswith("Removed") for reason in reasons(job)) == 1


def test_none_begins_when_the_time_is_over(old: MakeTrained, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    due_now()
    assert retention.run(None, time.monotonic() - 1) == 0
    assert names(job) == set(FILES)


def test_what_can_t_be_removed_is_tried_again(
    old: MakeTrained, write_config: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old()
    retention.run(None, inf)
    due_now()

    def refuse(name: str, *, dir_fd: int) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("jobs.providers.emptying.os.unlink", refuse)
        assert retention.run(None, inf) == 0
    assert "Results can't be removed: Permission denied" in caplog.text
    assert names(job) == set(FILES)
    assert retention.run(None, inf) == 1


def test_files_of_a_deleted_job_go_without_a_notice(old: MakeTrained, alice: User, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    job = old(submitted_by=alice, deleted_at=timezone.now())
    retention.run(None, inf)
    due_now()
    assert retention.run(None, inf) == 1
    assert names(job) == set()
    assert not Notice.objects.filter(kind="outputs_removal").exists()


def test_housekeeping_calls_it_without_a_period_too() -> None:
    assert kept["outputs"].always


@pytest.mark.parametrize("line", ["checkpoints: 0", "outputs_gb: many", "announced: forever", "outputs: 5 minutes"])
def test_a_bad_setting_stops_the_start(write_config: Any, line: str) -> None:
    write_config(f"retention:\n  {line}\n")
    with pytest.raises(ConfigurationError, match=rf"retention\.{line.partition(':')[0]}"):
        get_enterprise_config()


def test_the_health_page_says_how_much_there_is(old: MakeTrained, write_config: Any) -> None:
    write_config("retention:\n  outputs: 90 days\n")
    old()
    old(days=1)
    retention.run(None, inf)
    assert retention.usage_as_text().startswith("The results of 2 ended runs take ")
    assert "1 of these runs will lose files" in retention.usage_as_text()


def test_a_round_reads_no_more_jobs_once_its_time_is_over(
    old: MakeTrained, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(measuring, "BATCH", 1)
    for _ in range(3):
        old()
    with django_assert_num_queries(1):
        assert measuring.measure_ended(time.monotonic()) == 0
    assert measuring.measure_ended(inf) == 3


def test_once_measured_a_run_is_measured_again_only_when_more_came(old: MakeTrained) -> None:
    jobs = [old() for _ in range(3)]
    assert measuring.measure_ended(inf) == 3
    StoredOutput.objects.filter(pk__in=[job.pk for job in jobs[:2]]).update(measured_at=None)
    OutputFetch.objects.create(job=jobs[0])
    assert measuring.measure_ended(inf) == 1
    OutputFetch.objects.update(status=OutputFetch.Status.COMPLETE)
    assert measuring.measure_ended(inf) == 1
