"""Jobs of the site on a real Slurm: from the queue to their end, by the loops that bring them there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, logs
from jobs.models import Job, ProviderConfig
from jobs.providers.slurm.provider import time_limit
from jobs.statuses import TERMINAL, JobStatus
from jobs.sync.refresh import active_jobs, cancel_at_providers, refresh
from queueing import dispatch
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.configuration import WriteConfig, write_config  # noqa: F401
from tests.slurm import SlurmCluster, slurm, slurm_cluster  # noqa: F401
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
Enqueue = Callable[..., QueueEntry]

CONFIG = """
providers:
  slurm-lab:
    kind: slurm
    address: {address}
    user: root
    key_file: {folder}/jwt.key
    shared_folder: {folder}/shared
    command: {command}
    hardware:
      h100:
        gpus: 1
        gpu_type: h100
        cost_per_second: 0.01
      typo:
        partition: mian
"""


@pytest.fixture
def declare(slurm: SlurmCluster, write_config: WriteConfig) -> Callable[..., Path]:  # noqa: F811
    """Declare the cluster as `slurm-lab`, where trainings run a command."""
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 50})

    def make(*command: str) -> Path:
        text = CONFIG.format(address=slurm.address, folder=slurm.folder, command=json.dumps(list(command)))
        return write_config(text)

    return make


def polled_until(job: Job, *statuses: JobStatus) -> Job:
    def look() -> bool:
        refresh(active_jobs(), source=Source.POLL)
        job.refresh_from_db()
        return job.status in statuses

    wait_until(look, 40)
    return job


def test_a_job_is_dispatched_followed_and_paid(declare: Callable[..., Path], enqueue: Enqueue) -> None:
    declare("bash", "-c", "echo 'Step 8/8'; sleep 1; touch output/model")
    entry = enqueue(provider="slurm-lab", hardware_profile="h100")
    assert dispatch.run_pass() == 1
    job = Job.objects.get(pk=entry.job_id)
    assert (job.status, job.external_id) == (JobStatus.QUEUED, job.submission_marker)
    polled_until(job, *TERMINAL)
    assert (job.status, job.error_message) == (JobStatus.COMPLETED, "")
    assert 0 < job.cost_usd < 1
    assert job.metadata["slurm_nodes"] in ("n1", "n2")
    piece = logs.read_log(job)
    assert (piece.text, piece.complete) == ("Step 8/8\n", True)
    entry.refresh_from_db()
    assert entry.status == EntryStatus.COMPLETED


def test_a_job_is_cancelled_while_it_trains(declare: Callable[..., Path], enqueue: Enqueue) -> None:
    declare("sleep", "1000")
    job = enqueue(provider="slurm-lab", hardware_profile="h100").job
    dispatch.run_pass()
    polled_until(job, JobStatus.RUNNING)
    lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    job.refresh_from_db()
    assert cancel_at_providers([job]) == [job]
    assert polled_until(job, *TERMINAL).status == JobStatus.CANCELLED


def test_a_profile_with_a_typo_fails_the_job_with_a_sentence(declare: Callable[..., Path], enqueue: Enqueue) -> None:
    declare("true")
    job = enqueue(provider="slurm-lab", hardware_profile="typo").job
    assert dispatch.run_pass() == 0
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert "The profile's `partition` does not exist on this cluster." in job.error_message


def test_slurm_ends_what_takes_much_longer_than_its_estimate(
    slurm: SlurmCluster,  # noqa: F811
    declare: Callable[..., Path],
    enqueue: Enqueue,
) -> None:
    declare("sleep", "1000")
    ProviderConfig.objects.update_or_create(name="slurm-lab", defaults={"seconds_per_step": 6})
    config = {"max_train_steps": 1000, "learning_rate": 1e-4}
    job = enqueue(provider="slurm-lab", hardware_profile="h100", config=config).job
    short = enqueue(provider="slurm-lab", hardware_profile="h100").job
    assert dispatch.run_pass() == 2
    limits = []
    for one in (job, short):
        one.refresh_from_db()
        limits += [listed["time_limit"] for listed in slurm.jobs(one.submission_marker or "")]
    assert limits == [3 * 1000 * 6 // 60 + 1, 60]


def test_the_operators_limit_wins() -> None:
    limited, free = HardwareProfile("x", time_limit_minutes=90), HardwareProfile("y")
    assert time_limit(limited, 100_000.0) == 90
    assert time_limit(limited, None) == 90
    assert time_limit(free, None) is None
    assert time_limit(free, 30.0) == 60
    assert time_limit(free, 7200.0) == 361
