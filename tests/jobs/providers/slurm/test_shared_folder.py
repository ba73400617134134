"""What lies on the shared folder: configs with their secrets, the log, the dataset, the output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from cloudtrain_site.encryption import SecretScrubber
from jobs.providers.base import Handle, LogSlice, ProviderError, Snapshot
from jobs.providers.datasets import DatasetTransfer, TransferProgress
from jobs.statuses import JobStatus
from tests.dataset_archives import make_zip
from tests.jobs.providers.slurm.test_bad_input import OPENAPI, proxy
from tests.jobs.providers.slurm.trainings import ENDLESS, PATIENCE_SECONDS, Training, make_spec, start, submit
from tests.servers import free_port
from tests.slurm import SlurmCluster
from tests.wait import wait_until

SECRET = "hf_sEcReTsEcReTsEcReT"


def read(
    training: Training, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber | None = None
) -> LogSlice:
    options = {"scrubber": scrubber} if scrubber else {}
    return asyncio.run(training.provider.read_log(training.handle, start=start, limit=limit, **options))


# Secrets.


@pytest.mark.slow
def test_secrets_are_for_the_trainer_alone_and_masked_at_the_end(slurm: SlurmCluster) -> None:
    spec = make_spec(config={"hf_token": SECRET, "max_train_steps": 10})
    training = start(slurm.provider("bash", "-c", 'cat "$1"; echo up; exec sleep 1000', "-", "{config}"), spec=spec)
    config = training.folder / "config.json"
    assert SECRET in config.read_text()
    assert (config.stat().st_mode & 0o777, training.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert SECRET not in json.dumps(slurm.jobs(training.spec.marker))
    assert SECRET not in (training.folder / "submission.json").read_text()
    assert SECRET in read(training).text
    masked = read(training, scrubber=SecretScrubber([((), SECRET)])).text
    assert SECRET not in masked
    training.cancel()
    training.ended()
    assert SECRET not in config.read_text()
    assert json.loads(config.read_text())["max_train_steps"] == 10


@pytest.mark.slow
def test_secrets_go_when_the_runner_was_killed(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS), spec=make_spec(config={"hf_token": SECRET}))
    os.kill(training.record("process.json")["runner"]["pid"], signal.SIGKILL)
    snapshot = training.ended()
    assert snapshot.status == JobStatus.FAILED
    assert "it was killed by signal 9" in str(snapshot.error_message)
    assert not [path for path in training.folder.iterdir() if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert read(training).complete


@pytest.mark.slow
def test_secrets_go_when_the_job_never_began(slurm: SlurmCluster) -> None:
    spec = make_spec(config={"hf_token": SECRET})
    training = submit(slurm.provider("true", python="no-such-python"), spec)
    assert training.ended().status == JobStatus.FAILED
    assert SECRET not in (training.folder / "config.json").read_text()


@pytest.mark.parametrize(
    "fields", [{"profile": HardwareProfile("x", partition="none")}, {"address": "http://127.0.0.1:9"}]
)
def test_secrets_go_when_slurm_did_not_take_the_job(slurm: SlurmCluster, fields: dict[str, Any]) -> None:
    spec = make_spec(config={"hf_token": SECRET})
    with pytest.raises(ProviderError):
        submit(slurm.provider("true", **fields), spec)
    config = slurm.shared / spec.marker / "config.json"
    assert SECRET not in config.read_text()
    training = submit(slurm.provider("true"), spec)
    assert SECRET in config.read_text()
    training.cancel()


def test_secrets_stay_for_a_job_that_slurm_may_have_made(slurm: SlurmCluster) -> None:
    spec = make_spec(config={"hf_token": SECRET})
    with proxy(504, b"<html>", but=OPENAPI) as address, pytest.raises(ProviderError):
        submit(slurm.provider("true", address=address), spec)
    with pytest.raises(ProviderError, match="could not be reached"):
        submit(slurm.provider("true", address=f"http://127.0.0.1:{free_port()}"), spec)
    assert SECRET in (slurm.shared / spec.marker / "config.json").read_text()


# The log.


@pytest.mark.slow
def test_the_log_is_read_by_offset_while_it_grows(slurm: SlurmCluster) -> None:
    code = "printf 'one\\rtwo\\n'; echo up; until [ -e go ]; do sleep 0.05; done; printf 'caf\\303\\251 \\377 end\\n'"
    training = start(slurm.provider("bash", "-c", code))
    first = read(training)
    assert (first.text, first.complete) == ("one\rtwo\nup\n", False)
    (training.folder / "go").touch()
    training.ended()
    rest = read(training, first.end)
    assert (rest.text, rest.complete) == ("café � end\n", True)
    assert read(training, 4, 3).text.startswith("two")
    assert training.provider.remove_log(training.handle)
    assert (read(training).text, (training.folder / "train.log").exists()) == ("", False)
    assert not training.provider.remove_log(Handle("0" * 26, "12-1795919785")), "it was made at the cluster itself"


def test_a_job_that_waits_has_an_empty_log(slurm: SlurmCluster) -> None:
    training = submit(slurm.provider("true"))
    slurm.call("DELETE", f"/job/{training.number}")
    assert read(training).text == ""


def test_a_job_made_at_the_cluster_has_its_log_there(slurm: SlurmCluster) -> None:
    foreign = Handle("0" * 26, "12-1795919785")
    with pytest.raises(ProviderError, match="created at the cluster; its log is there"):
        asyncio.run(slurm.provider("true").read_log(foreign))


@pytest.mark.slow
def test_progress_comes_from_the_log(slurm: SlurmCluster) -> None:
    code = "echo 'Steps: 25%|##  | 3/12 [00:10<00:30, 1.0it/s, step_loss=0.5, lr=0.001]'; echo up; exec sleep 1000"
    progress = start(slurm.provider("bash", "-c", code)).seen(JobStatus.RUNNING).progress
    assert progress
    assert (progress.step, progress.total, progress.loss) == (3, 12, 0.5)


# The dataset and the output.


@pytest.mark.slow
@pytest.mark.parametrize("user", ["root", "daemon"])
def test_a_dataset_is_unpacked_for_the_account_that_trains(slurm: SlurmCluster, tmp_path: Path, user: str) -> None:
    slurm.shared.chmod(0o755)
    archive = tmp_path / "toys.zip"
    archive.write_bytes(make_zip())
    spec = make_spec(dataloader_config=[{"id": "toys", "instance_data_dir": "{dataset}/pictures"}])
    provider = slurm.provider(
        "bash", "-c", 'cat "$1/pictures/one.txt" "$2"', "-", "{dataset}", "{dataloader}", user=user
    )
    transfer = DatasetTransfer(spec.job_id, archive, "toys.zip", "zip", archive.stat().st_size, 19, "")
    umask = os.umask(0o077)
    try:
        address = asyncio.run(provider.stage(transfer, TransferProgress(1))).address
    finally:
        os.umask(umask)
    assert address == str(slurm.shared / "datasets" / spec.job_id / "dataset")
    spec = make_spec(job_id=spec.job_id, dataloader_config=spec.dataloader_config, dataset=address)
    training = submit(provider, spec)
    assert training.ended().status == JobStatus.COMPLETED
    assert training.log().startswith("a red toy")
    assert f"{address}/pictures" in training.log()
    asyncio.run(provider.delete_files(training.handle))
    assert not Path(address).exists()


@pytest.mark.slow
def test_only_the_output_survives_a_deletion(slurm: SlurmCluster) -> None:
    training = submit(slurm.provider("bash", "-c", "echo weights > output/model"))
    training.ended()
    for _ in range(2):
        asyncio.run(training.provider.delete_files(training.handle))
        assert [path.name for path in training.folder.iterdir()] == ["output"]
    without = submit(slurm.provider("true"))
    without.ended()
    asyncio.run(without.provider.delete_files(without.handle))
    assert not without.folder.exists()


# Jobs made at the cluster.


@pytest.mark.slow
def test_jobs_that_were_made_at_the_cluster_are_found(slurm: SlurmCluster) -> None:
    provider = slurm.provider(*ENDLESS)
    number = slurm.run("exec sleep 1000", name="by hand")
    slurm.run("exec sleep 1000", user="daemon", name="somebody else's")
    ours = start(provider)
    wait_until(lambda: len(slurm.jobs()) >= 3, PATIENCE_SECONDS)
    found = {training.name: training for training in asyncio.run(provider.recent(100))}
    assert "somebody else's" not in found
    mine, foreign = found[ours.spec.marker], found["by hand"]
    assert (mine.marker, mine.snapshot.external_id) == (ours.spec.marker, ours.spec.marker)
    assert foreign.marker is None
    assert foreign.snapshot.metadata["slurm_job_id"] == number
    handle = Handle("0" * 26, foreign.snapshot.external_id, metadata=foreign.snapshot.metadata)
    state = asyncio.run(provider.fetch([handle]))[handle.job_id]
    assert isinstance(state, Snapshot)
    assert state.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    asyncio.run(provider.cancel(handle))
    wait_until(lambda: slurm.jobs("by hand")[0]["job_state"] == "CANCELLED", PATIENCE_SECONDS)
    ended = asyncio.run(provider.fetch([handle]))[handle.job_id]
    assert isinstance(ended, Snapshot)
    assert ended.status == JobStatus.CANCELLED
    ours.seen(JobStatus.RUNNING)
    assert len(asyncio.run(provider.recent(1))) == 1
