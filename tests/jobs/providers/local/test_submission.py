"""Submitting a job to this machine: once, whatever happens, and with nothing of ours in it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.providers.base import Handle, ProviderError, Snapshot
from jobs.providers.local import command
from jobs.statuses import JobStatus
from tests.configuration import WriteConfig
from tests.jobs.providers.local.trainings import ENDLESS, Trainings, make_spec, until


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def test_a_second_submission_adopts_the_first(trainings: Trainings) -> None:
    spec = make_spec()
    provider = trainings.provider("print('started', flush=True); " + ENDLESS)
    first = asyncio.run(provider.submit(spec))
    second = asyncio.run(trainings.provider("print('again')").submit(spec))
    until(lambda: trainings.log(Handle(spec.job_id, first.external_id)).endswith("up\n"))
    assert first.metadata == second.metadata
    assert trainings.log(Handle(spec.job_id, first.external_id)) == "started\nup\n"


def test_two_dispatchers_at_once_start_one_training(trainings: Trainings) -> None:
    spec = make_spec()
    provider = trainings.provider(ENDLESS)
    with ThreadPoolExecutor(4) as pool:
        snapshots = list(pool.map(lambda _: asyncio.run(provider.submit(spec)), range(4)))
    handle = Handle(spec.job_id, snapshots[0].external_id)
    until(lambda: trainings.log(handle))
    assert len({snapshot.metadata["pid"] for snapshot in snapshots}) == 1
    assert trainings.log(handle) == "up\n"


def test_a_submission_after_a_crash_before_the_start_starts_it(trainings: Trainings) -> None:
    spec = make_spec()
    provider = trainings.provider(ENDLESS)
    (trainings.jobs / spec.job_id / "output").mkdir(parents=True)
    (trainings.jobs / spec.job_id / "config.json.1.2").write_text("{")
    assert asyncio.run(provider.submit(spec)).status == JobStatus.RUNNING


def test_a_started_training_is_found_by_its_marker(trainings: Trainings) -> None:
    spec = make_spec()
    asyncio.run(trainings.provider(ENDLESS).submit(spec))
    found = asyncio.run(trainings.provider().find_by_marker([spec.marker, "ct-other", "../../etc"]))
    assert {marker: snapshot.external_id for marker, snapshot in found.items()} == {spec.marker: spec.job_id}


def test_one_that_was_never_started_is_not_found(trainings: Trainings) -> None:
    spec = make_spec()
    (trainings.jobs / spec.job_id).mkdir(parents=True)
    (trainings.jobs / "markers").mkdir()
    (trainings.jobs / "markers" / spec.marker).symlink_to(f"../{spec.job_id}")
    assert asyncio.run(trainings.provider().find_by_marker([spec.marker])) == {}


def test_another_provider_instance_sees_everything(trainings: Trainings) -> None:
    handle = trainings.start("print('Step 4/8', flush=True); " + ENDLESS, text="up")
    snapshot = asyncio.run(trainings.provider().fetch([handle]))[handle.job_id]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.status == JobStatus.RUNNING
    assert snapshot.progress and snapshot.progress.step == 4


@pytest.mark.parametrize("job_id", ["../../../../etc/cron.d/xx", "", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a" * 27, "markers"])
def test_what_is_no_job_id_never_becomes_a_path(trainings: Trainings, job_id: str) -> None:
    with pytest.raises(ProviderError, match="is not a job id"):
        asyncio.run(trainings.provider().submit(make_spec(job_id=job_id)))
    with pytest.raises(ProviderError, match="is not a job id"):
        asyncio.run(trainings.provider().read_log(Handle("x", job_id)))
    assert not trainings.jobs.exists()


def test_a_data_folder_that_cannot_be_written_creates_nothing(trainings: Trainings) -> None:
    trainings.jobs.write_text("in the way")
    with pytest.raises(ProviderError, match="The data folder can't be used: ") as caught:
        asyncio.run(trainings.provider().submit(make_spec()))
    assert caught.value.nothing_created
    assert str(trainings.data_dir) not in str(caught.value)


def test_what_keeps_a_runner_from_starting_is_told(trainings: Trainings) -> None:
    spec = make_spec()
    (trainings.jobs / spec.job_id / "train.log").mkdir(parents=True)
    with pytest.raises(ProviderError, match=r"could not be started: Is a directory\.") as caught:
        asyncio.run(trainings.provider(ENDLESS).submit(spec))
    assert caught.value.nothing_created


def test_a_runner_that_comes_too_late_starts_nothing(trainings: Trainings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.providers.local.provider.START_SECONDS", 0.0)
    spec = make_spec()
    with pytest.raises(ProviderError, match="this machine is too busy") as caught:
        asyncio.run(trainings.provider(ENDLESS).submit(spec))
    assert caught.value.nothing_created
    assert sorted(os.listdir(trainings.jobs / spec.job_id)) == [
        "config.json",
        "dataloader.json",
        "output",
        "train.log",
    ]


def test_our_secrets_stay_ours(trainings: Trainings, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"SECRET_KEY": "s-1", "REPLICATE_API_TOKEN": "s-2", "HF_TOKEN": "s-3", "PGPASSWORD": "s-4"}
    secrets |= {"DATABASE_URL": "postgres://u:s-5@db/x", "MIRROR": "redis://:s-6@cache", "AWS_SECRET_ACCESS_KEY": "s-7"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "no-secret")
    handle = trainings.start(command=["cat", "/proc/self/environ", "/proc/self/cmdline"])
    trainings.ended(handle)
    assert "s-" not in trainings.log(handle).replace("no-secret", "")
    assert "TOKENIZERS_PARALLELISM=no-secret" in trainings.log(handle)


def test_what_gives_a_declared_provider_its_secret_stays_ours(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch, write_config: WriteConfig
) -> None:
    monkeypatch.setenv("STUDIO", "s-1")
    monkeypatch.setenv("STUDIO_HOST", "127.0.0.1")
    write_config("providers:\n  studio: {kind: replicate, token: '${STUDIO}', address: 'http://${STUDIO_HOST}:9'}\n")
    handle = trainings.start(command=["cat", "/proc/self/environ"])
    trainings.ended(handle)
    assert "STUDIO=" not in trainings.log(handle)
    assert "STUDIO_HOST=127.0.0.1" in trainings.log(handle)


def test_the_trainer_knows_its_job(trainings: Trainings) -> None:
    handle = trainings.start("import os; print(*(os.environ['CLOUDTRAIN_' + n] for n in ('JOB_ID', 'CORRELATION_ID')))")
    trainings.ended(handle)
    assert trainings.log(handle) == f"{handle.job_id} test-correlation\n"


def test_placeholders_are_filled_in_without_a_shell(tmp_path: Path) -> None:
    filled = command.substitute_placeholders(["{python}", "--config={config}", "$(id); {other}"], tmp_path / "a b")
    assert filled[1:] == [f"--config={tmp_path}/a b/config.json", "$(id); {other}"]


def test_a_started_training_has_its_config_and_writes_its_log(trainings: Trainings) -> None:
    spec = make_spec()
    asyncio.run(trainings.provider(command=["echo", "up"]).submit(spec))
    until(lambda: trainings.log(Handle(spec.job_id, spec.job_id)))
    assert json.loads((trainings.jobs / spec.job_id / "config.json").read_text()) == {"max_train_steps": 10}


def test_a_checkpoint_is_there_before_the_trainer(trainings: Trainings, tmp_path: Path) -> None:
    (tmp_path / "earlier" / "checkpoint-5").mkdir(parents=True)
    (tmp_path / "earlier" / "checkpoint-5" / "state").write_text("of the earlier one")
    code = "print(open('output/checkpoint-5/state').read(), flush=True)"
    handle = trainings.start(code, spec=make_spec(checkpoint=(tmp_path / "earlier", "checkpoint-5")))
    assert trainings.ended(handle).status == JobStatus.COMPLETED
    assert trainings.log(handle) == "of the earlier one\n"


def test_without_its_checkpoint_nothing_is_trained(trainings: Trainings, tmp_path: Path) -> None:
    spec = make_spec(checkpoint=(tmp_path / "earlier", "checkpoint-5"))
    handle = trainings.start("print('trains', flush=True)", spec=spec)
    ended = trainings.ended(handle)
    assert ended.status == JobStatus.FAILED
    assert "checkpoint-5, which the run continues from, can't be copied: No such file" in str(ended.error_message)
    assert trainings.log(handle) == ""
