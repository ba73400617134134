"""A training that turns up though its job doesn't need it is stopped; everybody else's is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import TestCase
from django.utils import timezone
from django_q.models import OrmQ
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from examples.fake_replicate import FakeReplicate, Prediction
from jobs import maintenance
from jobs.configs.secrets import sealed_columns, unsealed_columns
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from jobs.sync import orphans
from jobs.sync.discovery import discover
from tests.races import at_once

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
MARKER = "ct-" + "0123456789ab" * 2
OF_OURS = {"config_json": json.dumps({"tracker_run_name": f"night run {MARKER}"})}


@pytest.fixture
def given_up(fake: FakeReplicate, replicate_config: ProviderConfig, make_job: MakeJob) -> Job:
    """A job that nobody found at Replicate, and that somebody gave up."""
    began = timezone.now() - timedelta(minutes=11)
    return make_job(
        provider="replicate",
        hardware_profile="h100",
        status=JobStatus.FAILED,
        submission_marker=MARKER,
        submission_started_at=began,
    )


def running(fake: FakeReplicate, **fields: Any) -> Prediction:
    """A training with the marker, unless the test says otherwise."""
    attributes = {"model": "simpletuner/advanced-trainer-h100", "version": "v", "input": OF_OURS, **fields}
    made = Prediction(**attributes)
    fake.call(fake.predictions.add, made)
    fake.update(made.id, "processing", logs="begin\n")
    return made


def look_around() -> int:
    return discover("replicate", limit=100, source=Source.COMMAND).new


def orphan_of(job: Job) -> Job:
    return Job.objects.exclude(pk=job.pk).get()


def reasons(job: Job) -> list[str]:
    return list(job.events.order_by("id").values_list("reason", flat=True))


def cancels(fake: FakeReplicate) -> int:
    return fake.requests.count("POST", "/v1/predictions/{id}/cancel")


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_the_training_of_a_job_that_was_given_up_is_stopped_once(
    fake: FakeReplicate, given_up: Job, status: JobStatus
) -> None:
    Job.objects.filter(pk=given_up.pk).update(status=status)
    made = running(fake)
    assert look_around() == 1
    orphan = orphan_of(given_up)
    assert (orphan.external_id, orphan.status, orphan.cancel_requested_by) == (made.id, "running", "system")
    assert maintenance.retry_cancels() == 1
    orphan.refresh_from_db()
    assert (orphan.status, fake.predictions[made.id].status) == ("cancelled", "canceled")
    assert (look_around(), maintenance.retry_cancels(), cancels(fake)) == (0, 0, 1)
    assert Job.objects.get(pk=given_up.pk).external_id is None


def test_the_provider_is_asked_as_soon_as_it_is_written_down(fake: FakeReplicate, given_up: Job) -> None:
    running(fake)
    with TestCase.captureOnCommitCallbacks(execute=True):
        look_around()
        assert cancels(fake) == 0
    (task,) = OrmQ.objects.all()
    assert (task.func(), task.args()) == ("jobs.tasks.cancel_at_provider", (orphan_of(given_up).pk,))


def test_it_is_asked_again_until_it_answers(fake: FakeReplicate, given_up: Job) -> None:
    made = running(fake)
    look_around()
    with fake.outage():
        assert maintenance.retry_cancels() == 0
    assert orphan_of(given_up).status == JobStatus.RUNNING
    fake.faults.add("server_error", method="POST", path="cancel", times=1)
    assert maintenance.retry_cancels() == 0
    assert maintenance.retry_cancels() == 1
    assert (orphan_of(given_up).status, fake.predictions[made.id].status) == ("cancelled", "canceled")


def test_both_histories_tell_of_it_and_of_its_cost(
    fake: FakeReplicate, given_up: Job, caplog: pytest.LogCaptureFixture
) -> None:
    made = running(fake)
    fake.predictions[made.id].started_ns = fake.predictions[made.id].created_ns - 120 * 10**9
    look_around()
    maintenance.retry_cancels()
    orphan = orphan_of(given_up)
    cost = f"${orphan.cost_usd:.2f}"
    assert cost == "$1.20"
    assert reasons(given_up) == [
        f"{made.id} of this job was found, although it is failed: asked to stop (job {orphan.pk})",
        f"{made.id} has ended: cancelled, for {cost} (job {orphan.pk})",
    ]
    assert reasons(orphan)[:2] == [
        f"found at replicate as {made.id}",
        f"cancel requested: job {given_up.pk} doesn't need it: it is failed",
    ]
    assert orphan.correlation_id == given_up.correlation_id
    (warning,) = [one for one in caplog.records if one.getMessage().startswith("A training turned up")]
    assert (warning.levelname, warning.__dict__["external_id"]) == ("WARNING", made.id)


def test_the_people_of_its_organization_see_it_and_no_others(
    fake: FakeReplicate, given_up: Job, alice: User, charlie: User, client_of: ClientOf
) -> None:
    running(fake)
    look_around()
    orphan = orphan_of(given_up)
    seen = {user: client_of(user).get(f"/api/cloud/jobs/{orphan.pk}") for user in (alice, charlie)}
    assert (seen[alice].status_code, seen[charlie].status_code) == (200, 404)
    shown = seen[alice].json()["job"]
    assert (shown["organization"], shown["submitted_by"], shown["metadata"]["stray_of"]) == ("acme", None, given_up.pk)
    assert client_of(charlie).get("/api/cloud/jobs").json()["total"] == 0


def test_its_secrets_are_those_of_the_job(fake: FakeReplicate, given_up: Job) -> None:
    config = {"hf_token": "hf_" + "x" * 30}
    columns = sealed_columns(config=config, dataloader_config=[], webhook_url="")
    Job.objects.filter(pk=given_up.pk).update(**columns)
    running(fake)
    look_around()
    orphan = orphan_of(given_up)
    assert (orphan.config, unsealed_columns(orphan)["config"]) == ({"hf_token": "***"}, config)


def test_one_that_has_ended_is_taken_in_and_not_asked_to_stop(fake: FakeReplicate, given_up: Job) -> None:
    made = running(fake)
    fake.predictions[made.id].started_ns = fake.predictions[made.id].created_ns - 60 * 10**9
    fake.update(made.id, "succeeded", output="https://huggingface.co/x")
    look_around()
    orphan = orphan_of(given_up)
    assert (orphan.status, orphan.output_url, orphan.cancel_requested_at) == (
        "completed",
        "https://huggingface.co/x",
        None,
    )
    assert (maintenance.retry_cancels(), cancels(fake)) == (0, 0)
    text = f"{made.id} of this job was found, although it is failed: that is completed, for ${orphan.cost_usd:.2f}"
    assert reasons(given_up) == [f"{text} (job {orphan.pk})"]


def test_an_earlier_training_of_a_job_that_has_another_is_stopped(fake: FakeReplicate, at_replicate: MakeJob) -> None:
    job = at_replicate(submission_marker=MARKER, queued_at=timezone.now(), status=JobStatus.RUNNING)
    earlier = running(fake)
    look_around()
    maintenance.retry_cancels()
    assert {one.id: one.status for one in fake.predictions} == {job.external_id: "starting", earlier.id: "canceled"}
    job.refresh_from_db()
    assert (job.status, job.cancel_requested_at) == (JobStatus.RUNNING, None)
    assert f"{earlier.id} of this job was found, although it has {job.external_id}: asked to stop" in reasons(job)[0]


def left_alone(fake: FakeReplicate) -> bool:
    maintenance.retry_cancels()
    return cancels(fake) == 0 and not Job.objects.exclude(cancel_requested_at=None).exists()


def test_the_training_that_a_job_has_goes_on(fake: FakeReplicate, make_job: MakeJob) -> None:
    made = running(fake)
    fields = {"submission_marker": MARKER, "submission_started_at": timezone.now(), "external_id": made.id}
    make_job(provider="replicate", status=JobStatus.QUEUED, queued_at=timezone.now(), **fields)
    assert look_around() == 0
    assert left_alone(fake)


def test_the_training_of_a_job_that_is_being_submitted_is_left_to_the_dispatcher(
    fake: FakeReplicate, make_job: MakeJob
) -> None:
    running(fake)
    make_job(provider="replicate", submission_marker=MARKER, submission_started_at=timezone.now())
    assert look_around() == 0
    assert left_alone(fake)


@pytest.mark.parametrize(
    "fields",
    [
        {"input": {"config_json": json.dumps({"tracker_run_name": "night run"})}},
        {"input": {"config_json": json.dumps({"tracker_run_name": "night run ct-" + "f" * 24})}},
        {"source": "web"},
    ],
    ids=["no marker", "the marker of another installation", "ours, run again on Replicate's pages"],
)
def test_a_training_that_was_made_elsewhere_goes_on(fake: FakeReplicate, given_up: Job, fields: dict[str, Any]) -> None:
    running(fake, **fields)
    assert look_around() == 1
    assert left_alone(fake)
    assert "stray_of" not in orphan_of(given_up).metadata


@pytest.mark.parametrize("external_id", [None, "x" * 26])
def test_one_that_somebody_made_of_our_input_later_goes_on(
    fake: FakeReplicate, given_up: Job, external_id: str | None
) -> None:
    settled = timezone.now() - timedelta(minutes=5)
    Job.objects.filter(pk=given_up.pk).update(completed_at=settled, queued_at=settled, external_id=external_id)
    running(fake)
    assert look_around() == 1
    assert left_alone(fake)


@pytest.mark.django_db(transaction=True)
def test_whoever_sees_it_at_the_same_moment_it_is_one_job(fake: FakeReplicate, given_up: Job) -> None:
    made = running(fake)

    def adopt() -> int:
        return orphans.adopt_orphan(given_up, Snapshot(made.id, JobStatus.RUNNING), source=Source.WEBHOOK) is not None

    assert sum(at_once(look_around, adopt, look_around, adopt)) == 1
    assert len(reasons(orphan_of(given_up))) == 2
    assert len(reasons(given_up)) == 1
