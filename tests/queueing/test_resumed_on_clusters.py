"""A run that goes on from a checkpoint of an earlier one, on a real Slurm and on a real Ray, from submission to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from examples.clusters.demo import start_cluster
from examples.clusters.processes import MissingProgramError
from jobs import logs
from jobs.models import Job, ProviderConfig
from jobs.outputs.store import folder_of
from jobs.statuses import TERMINAL, JobStatus
from jobs.sync.refresh import active_jobs, capture_logs, refresh
from queueing import dispatch
from queueing.models import QueueState
from tests.configuration import WriteConfig, write_config  # noqa: F401
from tests.servers import missing
from tests.slurm import need_slurm
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
SUBMIT = "/api/cloud/jobs/submit?provider=lab"
CONFIG = {"max_train_steps": 20, "checkpoint_step_interval": 8, "train_batch_size": 1, "learning_rate": 1e-4}


@pytest.fixture(params=["slurm", "ray"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, write_config: WriteConfig) -> Iterator[None]:  # noqa: F811
    """A cluster that is declared as `lab`, whose nodes have the sample trainer."""
    if request.param == "slurm":
        need_slurm()
    config = tmp_path / "cluster.yaml"
    try:
        cluster = start_cluster(request.param, "lab", tmp_path, config)
    except MissingProgramError as error:
        missing(str(error))
    try:
        write_config(config.read_text())
        ProviderConfig.objects.update_or_create(name="lab")
        QueueState.objects.update_or_create(pk=1, defaults={"max_running": 5})
        yield
    finally:
        cluster.stop()


def trained(client: APIClient, body: dict[str, Any]) -> Job:
    """Submit, and follow the job to its end."""
    answer = client.post(SUBMIT, {"hardware_profile": "gpu", **body}, format="json")
    assert answer.status_code == 201, answer.json()
    assert dispatch.run_pass() == 1
    job = Job.objects.get(pk=answer.json()["job_id"])

    def has_ended() -> bool:
        refresh(active_jobs(), source=Source.POLL)
        job.refresh_from_db()
        return job.status in TERMINAL

    wait_until(has_ended, 120)
    assert (job.status, job.error_message) == (JobStatus.COMPLETED, "")
    return job


def test_a_run_goes_on_from_the_checkpoint_of_another(
    cluster: None, client_of: Callable[..., APIClient], alice: User
) -> None:
    client = client_of(alice)
    first = trained(client, {"config": CONFIG})
    offered = client.get(f"/api/cloud/jobs/{first.pk}/next-run").json()
    assert [one["step"] for one in offered["checkpoints"]] == [20, 16, 8], offered["checkpoints_reason"]
    submission = {**offered["submission"], "checkpoint": "checkpoint-8"}
    submission["config"] = {**submission["config"], "max_train_steps": 24}

    second = trained(client, submission)

    def tells() -> bool:
        capture_logs(source=Source.POLL)  # Ray keeps no log: it is copied
        return "Loading checkpoint-8: going on after step 8" in logs.read_log(second).text

    wait_until(tells, 90)
    assert second.step == 24
    folders = [folder_of(job) for job in (first, second)]
    assert folders[0] and folders[1] and folders[0] != folders[1]
    names = [sorted({file.path.partition("/")[0] for file in folder.files("")}) for folder in folders if folder]
    assert {"checkpoint-8", "checkpoint-16", "checkpoint-20"} <= {*names[0]}
    assert {"checkpoint-8", "checkpoint-16", "checkpoint-24"} <= {*names[1]}
    changes = {item["path"]: item["after"] for item in (second.changes or {})["items"]}
    assert changes == {"max_train_steps": 24, "resume_from_checkpoint": "checkpoint-8"}
