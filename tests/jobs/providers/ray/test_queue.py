"""The whole way with Ray at its end: whatever gets lost on it, each job is one training."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, logs
from jobs.models import DatasetUpload, Job, Organization, ProviderConfig
from jobs.statuses import JobStatus
from jobs.sync import refresh
from queueing import claims, dispatch
from queueing.models import QueueEntry
from tests.configuration import WriteConfig
from tests.jobs.providers.ray.fake_ray import CUT, TOKEN, Answer, FakeRay, as_page
from tests.jobs.providers.ray.records import log_of, on_submission
from tests.queueing.entries import dispatch_a_lease_later, enqueue

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG = """
providers:
  ray-lab:
    kind: ray
    label: Ray lab
    address: {address}
    token: ${{RAY_LAB_TOKEN}}
    command: ["{{python}}", "train.py"]
    hardware:
      gpu: {{gpus: 1}}
"""
MakeJob = Callable[..., Job]


@pytest.fixture
def submit(ray: FakeRay, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, make_job: MakeJob) -> MakeJob:
    """A job of alice's in the queue for the cluster."""
    monkeypatch.setenv("RAY_LAB_TOKEN", TOKEN)
    write_config(CONFIG.format(address=ray.address))
    ProviderConfig.objects.create(name="ray-lab", cost_per_second={"gpu": 0.01})

    def make(**fields: Any) -> Job:
        job = make_job(**{"provider": "ray-lab", "hardware_profile": "gpu", **fields})
        enqueue(job)
        return job

    return make


def poll() -> Job:
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    return Job.objects.get()


def test_a_job_is_one_training_from_its_submission_to_its_end(submit: MakeJob, ray: FakeRay) -> None:
    submit()
    dispatch.run_pass()
    job = Job.objects.get()
    assert (job.status, job.external_id) == (JobStatus.QUEUED, job.submission_marker)
    assert job.external_id
    assert poll().provider_waiting_reason == "The cluster waits for 1 GPU, 1 CPU."
    ray.run(job.external_id, log_of(job.external_id, b"step 1\n"))
    assert poll().status == JobStatus.RUNNING
    ray.run(job.external_id, log_of(job.external_id, b"step 1\n", b"step 2\n", exit_code=0))
    ray.end(job.external_id)
    job = poll()
    assert (job.status, job.cost_usd) == (JobStatus.COMPLETED, Decimal("0.9"))
    assert refresh.capture_logs(source=Source.POLL) == 1
    job.refresh_from_db()
    assert (logs.read_log(job).text, logs.read_log(job).complete) == ("step 1\nstep 2\n", True)
    assert list(job.events.filter(subject="job").values_list("new", flat=True)) == ["queued", "running", "completed"]


@pytest.mark.parametrize("shares", [True, False])
def test_a_dataset_that_does_not_fit_is_refused_at_the_submission(
    submit: MakeJob,
    ray: FakeRay,
    write_config: WriteConfig,
    client_of: Callable[[User], APIClient],
    alice: User,
    acme: Organization,
    tmp_path: Path,
    *,
    shares: bool,
) -> None:
    if shares:
        write_config(CONFIG.format(address=ray.address) + f"    shared_folder: {tmp_path}\n")
    upload = DatasetUpload.objects.create(
        name="cats.zip",
        kind="zip",
        size=200_000_000,
        unpacked_size=1,
        files=1,
        sha256="0" * 64,
        organization=acme,
        uploaded_by=alice,
    )
    body = {"config": {"max_train_steps": 10}, "dataset": upload.pk, "dry_run": True}
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=ray-lab", body, format="json")
    if shares:
        assert answer.status_code == 200, answer.json()
    else:
        assert (answer.status_code, "100 MB" in str(answer.json())) == (400, True)


def test_a_log_is_captured_while_the_training_runs(submit: MakeJob, ray: FakeRay) -> None:
    submit()
    dispatch.run_pass()
    job = Job.objects.get()
    assert job.external_id
    ray.run(job.external_id, log_of(job.external_id, b"step 1\n"))
    job = poll()
    assert job.external_id
    assert refresh.refresh_viewed(job, source=Source.POLL)
    assert logs.read_log(job).text == "step 1\n"
    ray.run(job.external_id, log_of(job.external_id, b"step 1\n", b"step 2\n"))
    Job.objects.update(log_fetched_at=None)
    job.refresh_from_db()
    assert refresh.refresh_viewed(job, source=Source.POLL)
    assert logs.read_log(job).text == "step 1\nstep 2\n"


@pytest.mark.parametrize("lost", [CUT, as_page(502)], ids=["cut", "proxy"])
def test_a_lost_answer_is_no_second_training(submit: MakeJob, ray: FakeRay, lost: Answer) -> None:
    submit()
    ray.after = on_submission(lost)
    dispatch.run_pass()
    assert list(ray.jobs) == [Job.objects.get().external_id]


def test_a_request_that_may_have_arrived_is_sent_again_under_its_marker(submit: MakeJob, ray: FakeRay) -> None:
    job = submit()
    ray.instead = on_submission(CUT)
    dispatch.run_pass()
    job.refresh_from_db()
    assert job.external_id is None
    marker = job.submission_marker
    ray.instead = lambda method, path: None
    dispatch_a_lease_later()
    job.refresh_from_db()
    assert (job.external_id, list(ray.jobs)) == (marker, [marker])


def test_a_wrong_token_is_said_on_the_job_in_the_end(submit: MakeJob, ray: FakeRay) -> None:
    submit()
    ray.token = "6" * 64
    for _ in range(claims.MAX_ATTEMPTS):
        QueueEntry.objects.update(not_before=None)
        dispatch.run_pass()
    job = Job.objects.get()
    assert job.status == JobStatus.FAILED
    assert (job.error_message or "").startswith("Ray lab refused the token. It is wrong or has expired.")


def test_a_head_that_is_away_ends_no_job(submit: MakeJob, ray: FakeRay) -> None:
    submit()
    dispatch.run_pass()
    ray.instead = lambda method, path: CUT
    assert poll().status == JobStatus.QUEUED


def test_a_job_that_its_cluster_forgot_fails_with_a_sentence_and_frees_its_slot(submit: MakeJob, ray: FakeRay) -> None:
    submit()
    dispatch.run_pass()
    ray.jobs.clear()
    ray.session = "session_2"
    job = poll()
    assert job.status == JobStatus.QUEUED
    earlier = (timezone.now() - timedelta(seconds=61)).isoformat()
    Job.objects.update(metadata={**job.metadata, "missing_since": earlier})
    job = poll()
    assert (job.status, job.error_message) == (
        JobStatus.FAILED,
        "The training is lost: the Ray cluster was set up again without its earlier jobs.",
    )
    assert QueueEntry.objects.get().status == "failed"


def test_a_cancelled_job_that_waits_is_cancelled_when_the_cluster_says_so(submit: MakeJob, ray: FakeRay) -> None:
    submit()
    dispatch.run_pass()
    job = Job.objects.get()
    assert job.external_id
    assert lifecycle.request_cancel(job, actor=SYSTEM, source=Source.API)
    job.refresh_from_db()
    assert refresh.cancel_at_providers([job]) == [job]
    assert poll().status == JobStatus.QUEUED
    ray.end(job.external_id, "STOPPED")
    job = poll()
    assert (job.status, job.cost_usd) == (JobStatus.CANCELLED, Decimal(0))
