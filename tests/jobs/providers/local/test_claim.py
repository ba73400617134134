"""The claim of a training, outside of the folder that its trainer works in: it begins once, whatever is removed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs import maintenance, providers
from jobs.models import Job
from jobs.providers.base import Handle, ProviderError, Snapshot, TrainingSpec
from jobs.providers.local.provider import LocalProvider
from jobs.providers.runner import __main__ as runner
from jobs.providers.runner import processes, records
from jobs.statuses import JobStatus
from queueing import dispatch
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.jobs.providers.local.trainings import ENDLESS, Trainings, make_spec, until
from tests.queueing.entries import dispatch_a_lease_later, enqueue

REMOVALS = {"the start": "os.unlink('process.json')", "the folder": "shutil.rmtree(os.getcwd())"}


def trainer(trainings: Trainings, removes: str) -> str:
    """A trainer that counts its start where nothing is removed, and removes something of ours with its first line."""
    counted = f"open({str(trainings.data_dir / 'starts')!r}, 'a').write('started ')"
    return f"import os, shutil; {REMOVALS[removes]}; {counted}; {ENDLESS}"


def starts(trainings: Trainings) -> list[str]:
    path = trainings.data_dir / "starts"
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def trainings(tmp_path: Path, settings: Any) -> Iterator[Trainings]:
    settings.DATA_DIR = tmp_path
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


class DyingProvider(LocalProvider):
    """Its dispatcher gets no answer, though the trainer has begun, as one that is killed right then."""

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        await super().submit(spec)
        until(lambda: (self.jobs.parent / "starts").exists())
        raise RuntimeError("killed")


@pytest.mark.django_db
@pytest.mark.parametrize("removes", REMOVALS)
def test_a_dispatcher_that_died_before_it_recorded_a_removed_start_trains_once(
    trainings: Trainings, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, removes: str
) -> None:
    healthy = trainings.provider(trainer(trainings, removes))
    dying = DyingProvider(trainings.data_dir, healthy.command, 10)
    provider: list[LocalProvider] = [dying]
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "local": lambda: provider[0]})
    job = make_job(provider="local", config={})
    enqueue(job)
    assert dispatch.run_pass() == 0
    assert QueueEntry.objects.get().status == EntryStatus.DISPATCHING

    provider[0] = healthy
    dispatch_a_lease_later()

    assert starts(trainings) == ["started"]
    job.refresh_from_db()
    assert (job.status, QueueEntry.objects.get().status) == (JobStatus.RUNNING, EntryStatus.RUNNING)
    assert records.start_time(job.metadata["pid"]) is not None


@pytest.mark.parametrize("removes", REMOVALS)
def test_a_second_submission_adopts_a_training_whose_start_was_removed(trainings: Trainings, removes: str) -> None:
    spec, provider = make_spec(), trainings.provider(trainer(trainings, removes))
    first = asyncio.run(provider.submit(spec))
    until(lambda: starts(trainings))
    second = asyncio.run(provider.submit(spec))
    assert second.metadata == first.metadata
    assert starts(trainings) == ["started"]


def restore(trainings: Trainings, *left_out: str) -> None:
    """Put a copy of the job folders in their place, as a backup without `left_out` would."""
    moved = trainings.jobs.rename(trainings.data_dir / "moved")
    shutil.copytree(moved, trainings.jobs, symlinks=True, ignore=shutil.ignore_patterns(*left_out))


def test_after_a_restored_backup_a_training_ends_as_it_ended(trainings: Trainings) -> None:
    go_on = trainings.data_dir / "go-on"
    wait = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.05)"
    handle = trainings.start(f"print('up', flush=True)\n{wait}\nraise SystemExit(3)", text="up")
    restore(trainings)
    assert (running := trainings.fetch(handle)) and running.status == JobStatus.RUNNING
    go_on.touch()
    assert trainings.ended(handle).error_message == "The trainer ended with exit code 3: up"


def test_a_training_that_a_restored_backup_does_not_know_is_not_started_twice(trainings: Trainings) -> None:
    spec = make_spec()
    provider = trainings.provider(f"open({str(trainings.data_dir / 'starts')!r}, 'a').write('started '); {ENDLESS}")
    snapshot = asyncio.run(provider.submit(spec))
    until(lambda: starts(trainings))
    restore(trainings, spec.job_id, spec.marker)
    with pytest.raises(ProviderError, match="already runs on this machine, outside of the job's folder") as caught:
        asyncio.run(provider.submit(spec))
    assert caught.value.permanent
    assert caught.value.nothing_created
    assert list((trainings.jobs / "claims").iterdir()) == []
    os.kill(snapshot.metadata["process"]["runner"]["pid"], signal.SIGKILL)
    os.kill(snapshot.metadata["pid"], signal.SIGKILL)
    until(lambda: records.start_time(snapshot.metadata["process"]["runner"]["pid"]) is None)
    assert starts(trainings) == ["started"]
    assert asyncio.run(provider.submit(spec)).status == JobStatus.RUNNING


def test_a_runner_that_is_second_leaves_no_start_record(trainings: Trainings) -> None:
    spec, provider = make_spec(), trainings.provider(trainer(trainings, "the start"))
    folder = trainings.jobs / spec.job_id
    asyncio.run(provider.submit(spec))
    until(lambda: starts(trainings))
    second = processes.Trainer(["true"], 1)
    with pytest.raises(FileExistsError):
        runner.claim(str(folder), spec.marker, second, float("inf"))
    second.shut_gate()
    assert not (folder / "process.json").exists()
    assert starts(trainings) == ["started"]


def test_a_training_of_a_release_without_claims_is_known_by_its_start_record(trainings: Trainings) -> None:
    spec = make_spec()
    provider = trainings.provider(ENDLESS)
    first = asyncio.run(provider.submit(spec))
    (trainings.jobs / "claims" / spec.job_id).unlink()
    assert asyncio.run(provider.submit(spec)).metadata == first.metadata
    found = asyncio.run(provider.find_by_marker([spec.marker]))[spec.marker]
    assert (found.status, found.metadata) == (JobStatus.RUNNING, first.metadata)


def test_a_forged_start_record_is_not_believed(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up")
    (trainings.folder(handle) / "process.json").write_text("{}")
    assert (snapshot := trainings.fetch(handle)) and snapshot.status == JobStatus.RUNNING


def test_no_claim_is_made_that_can_not_be_written(trainings: Trainings) -> None:
    spec = make_spec()
    trainings.jobs.mkdir()
    (trainings.jobs / "claims").touch()
    with pytest.raises(ProviderError) as caught:
        asyncio.run(trainings.provider(ENDLESS).submit(spec))
    assert caught.value.nothing_created
    (trainings.jobs / "claims").unlink()
    assert asyncio.run(trainings.provider(ENDLESS).submit(spec)).status == JobStatus.RUNNING


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["the deletion", "the sweep"])
@pytest.mark.parametrize("removes", REMOVALS)
def test_with_the_job_goes_its_claim(trainings: Trainings, make_job: Callable[..., Job], removes: str, by: str) -> None:
    spec, provider = make_spec(), trainings.provider(trainer(trainings, removes))
    snapshot = asyncio.run(provider.submit(spec))
    handle = Handle(spec.job_id, spec.job_id, metadata=snapshot.metadata)
    until(lambda: starts(trainings))
    trainings.end_all()
    assert trainings.ended(handle).status == JobStatus.FAILED
    job = make_job(id=spec.job_id, status=JobStatus.FAILED, provider="local", deleted_at=timezone.now())
    Job.objects.filter(pk=job.pk).update(deleted_at=timezone.now() - timedelta(hours=1))
    job.refresh_from_db()
    assert maintenance.remove_files(job) if by == "the deletion" else maintenance.sweep() == 1
    assert list((trainings.jobs / "claims").iterdir()) == list((trainings.jobs / "markers").iterdir()) == []
    assert not trainings.folder(handle).exists()
