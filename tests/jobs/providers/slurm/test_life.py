"""A training's life on a real Slurm, from its submission to its end."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from jobs.statuses import JobStatus
from tests.jobs.providers.slurm.trainings import ENDLESS, STUBBORN, start, submit
from tests.slurm import SlurmCluster

pytestmark = pytest.mark.slow


def test_a_training_completes(slurm: SlurmCluster) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    training = submit(slurm.provider("bash", "-c", "echo 'Step 4/8 loss=0.5'; touch output/model; pwd"))
    assert training.first.status == JobStatus.QUEUED
    assert training.first.external_id == training.spec.marker
    snapshot = training.ended()
    assert snapshot.status == JobStatus.COMPLETED
    assert snapshot.error_message is None
    assert snapshot.output_url == (training.folder / "output").as_uri()
    assert snapshot.progress and snapshot.progress.step == 4
    assert snapshot.started_at and snapshot.completed_at
    assert before <= snapshot.started_at <= snapshot.completed_at
    assert snapshot.billed_seconds == (snapshot.completed_at - snapshot.started_at).total_seconds()
    assert training.log().endswith(f"{training.folder}\n")


def test_the_job_carries_its_marker(slurm: SlurmCluster) -> None:
    training = submit(slurm.provider("true"))
    [job] = slurm.jobs(training.spec.marker)
    assert job["comment"] == f"cloudtrain:{training.spec.marker}"
    assert job["job_id"] == training.number
    training.ended()
    assert (training.folder / "slurm_job").read_text() == f"{training.number}\n"


def test_the_trainer_gets_its_files_and_a_home(slurm: SlurmCluster) -> None:
    code = 'cat "$1" "$2"; test -d "$3"; echo "home $HOME job $CLOUDTRAIN_JOB_ID python $4"'
    command = ["bash", "-c", code, "-", "{config}", "{dataloader}", "{output_dir}", "{python}"]
    training = submit(slurm.provider(*command))
    assert training.ended().status == JobStatus.COMPLETED
    assert '"max_train_steps": 10' in training.log()
    assert '"pictures"' in training.log()
    assert f"home /root job {training.spec.job_id} python python3\n" in training.log()


def test_a_failure_comes_with_the_trainers_own_words(slurm: SlurmCluster) -> None:
    training = submit(slurm.provider("bash", "-c", "echo '50%|xx| 1/2'; echo 'max_train_steps is missing'; exit 3"))
    snapshot = training.ended()
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == "The trainer ended with exit code 3: max_train_steps is missing"
    [job] = slurm.jobs(training.spec.marker)
    assert (job["job_state"], job["exit_code"]) == ("FAILED", 3 << 8)


def test_a_running_training_is_cancelled(slurm: SlurmCluster) -> None:
    code = "trap 'echo saved; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    training = start(slurm.provider("bash", "-c", code))
    assert training.seen(JobStatus.RUNNING).completed_at is None
    training.cancel()
    snapshot = training.ended()
    assert (snapshot.status, snapshot.error_message) == (JobStatus.CANCELLED, None)
    assert "saved" in training.log()


def test_a_training_that_ignores_sigterm_is_killed(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*STUBBORN, grace_seconds=600))
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED


def test_a_job_that_waits_is_cancelled_and_cost_nothing(slurm: SlurmCluster) -> None:
    taken = [start(slurm.provider(*ENDLESS, profile=HardwareProfile("all", cpus=64))) for _ in range(2)]
    waiting = submit(slurm.provider("true", profile=HardwareProfile("all", cpus=64)))
    assert waiting.seen(JobStatus.QUEUED).started_at is None
    waiting.cancel()
    snapshot = waiting.ended()
    assert (snapshot.status, snapshot.billed_seconds, snapshot.started_at) == (JobStatus.CANCELLED, 0.0, None)
    for training in taken:
        training.seen(JobStatus.RUNNING)


def test_what_the_cluster_waits_for(slurm: SlurmCluster) -> None:
    two = HardwareProfile("h100-x2", gpus=2, gpu_type="h100")
    for _ in range(2):
        start(slurm.provider(*ENDLESS, profile=two))
    waiting = submit(slurm.provider("true", profile=two))
    snapshot = waiting.seen(JobStatus.QUEUED)
    while "Resources" not in str(snapshot.waiting_reason):
        snapshot = waiting.seen(JobStatus.QUEUED)
    assert snapshot.waiting_reason == "The cluster waits for 2 GPUs: Resources."


def test_gpus_are_given_out_for_real(slurm: SlurmCluster) -> None:
    code = "echo gpus=$CUDA_VISIBLE_DEVICES up; exec sleep 1000"
    provider = slurm.provider("bash", "-c", code, profile=HardwareProfile("h100-x2", gpus=2, gpu_type="h100"))
    training = start(provider)
    assert "gpus=0,1 up" in training.log()


def test_a_trainer_that_is_killed_on_its_node_is_told_as_such(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS))
    os.kill(training.record("process.json")["trainer"]["pid"], signal.SIGKILL)
    snapshot = training.ended()
    assert snapshot.status == JobStatus.FAILED
    assert str(snapshot.error_message).startswith("The trainer was killed (SIGKILL)")


def test_a_cancellation_at_the_cluster_says_so(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS))
    slurm.call("DELETE", f"/job/{training.number}")
    snapshot = training.ended()
    assert snapshot.status == JobStatus.CANCELLED
    assert snapshot.error_message == "The job was cancelled at the cluster."
