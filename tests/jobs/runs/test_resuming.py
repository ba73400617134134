"""Going on from a checkpoint: which there are, who may, and what the new run gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from approvals.models import ApprovalRule
from cloudtrain_site.states import SYSTEM, Source
from jobs.models import Job, Organization
from jobs.outputs.store import folder_of
from jobs.providers.base import ProviderError
from jobs.roles import Role
from jobs.runs.resuming import checkpoints_of, source_of, with_checkpoint
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.models import QueueEntry
from tests.factories import make_user
from tests.providers import ScriptedProvider

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
SUBMIT = "/api/cloud/jobs/submit?provider=local"
FILES = {f"checkpoint-{step}/state.json": b"{}" * step for step in (5, 10)} | {"result.json": b"{}"}


def body(parent: Job, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    whole = {"config": {"max_train_steps": 20}, "parent": parent.pk, "checkpoint": "checkpoint-5"}
    return whole | (fields or {})


def resumed(client: APIClient, parent: Job) -> Job:
    answer = client.post(SUBMIT, body(parent), format="json")
    assert answer.status_code == 201, answer.json()
    return Job.objects.get(pk=answer.json()["job_id"])


def test_they_are_listed_newest_first(trained: MakeJob) -> None:
    found = checkpoints_of(trained({**FILES, "deep/checkpoint-7/state.json": b"1", "checkpoint-x/state.json": b""}))
    assert [(one.path, one.step, one.size) for one in found.items] == [
        ("checkpoint-10", 10, 20),
        ("deep/checkpoint-7", 7, 1),
        ("checkpoint-5", 5, 10),
    ]
    assert found.reason == ""


def test_a_reason_says_why_there_are_none(trained: MakeJob, make_job: MakeJob) -> None:
    reasons = [
        checkpoints_of(trained({"result.json": b"{}"})).reason,
        checkpoints_of(trained(FILES, status=JobStatus.RUNNING)).reason,
        checkpoints_of(make_job(status=JobStatus.PENDING)).reason,
        checkpoints_of(make_job(status=JobStatus.COMPLETED)).reason,
        checkpoints_of(make_job(status=JobStatus.COMPLETED, external_id="x", provider="replicate")).reason,
        checkpoints_of(make_job(status=JobStatus.COMPLETED, external_id="y", provider="gone")).reason,
    ]
    assert reasons == [
        "The run wrote no folder called checkpoint-STEP.",
        "The run has not ended. Its checkpoints can be used when it has.",
        "The training has not begun.",
        "The training has not begun.",
        "Replicate keeps no files that another run could use.",
        "gone keeps no files that another run could use.",
    ]


def test_the_choice_is_in_the_api(client_of: ClientOf, alice: User, trained: MakeJob) -> None:
    answer = client_of(alice).get(f"/api/cloud/jobs/{trained(FILES).pk}/next-run").json()
    assert [one["path"] for one in answer["checkpoints"]] == ["checkpoint-10", "checkpoint-5"]
    assert answer["checkpoints_reason"] is None


def test_the_option_is_set_in_whatever_spelling() -> None:
    config = {"--resume-from-checkpoint": "latest", "seed": 1}
    assert with_checkpoint(config, "deep/checkpoint-7") == {"seed": 1, "resume_from_checkpoint": "checkpoint-7"}


def test_a_run_goes_on_from_one(client_of: ClientOf, alice: User, trained: MakeJob) -> None:
    parent, client = trained(FILES), client_of(alice)
    job = resumed(client, parent)
    assert (job.checkpoint_of, job.checkpoint) == (parent, "checkpoint-5")
    assert job.config["resume_from_checkpoint"] == "checkpoint-5"
    folder = folder_of(parent)
    assert folder is not None
    assert source_of(job) == (folder.root, "checkpoint-5")
    paths = [item["path"] for item in (job.changes or {})["items"]]
    assert "resume_from_checkpoint" in paths
    [_, run] = client.get(f"/api/cloud/jobs/{job.pk}/runs").json()["runs"]
    assert (run["checkpoint_of"], run["checkpoint"]) == (parent.pk, "checkpoint-5")


@pytest.mark.django_db(transaction=True)
def test_the_dispatcher_hands_it_to_the_provider(
    make_job: MakeJob, trained: MakeJob, add_provider: Callable[[ScriptedProvider], None]
) -> None:
    provider, parent = ScriptedProvider(), trained(FILES)
    add_provider(provider)
    for checkpoint in ("checkpoint-5", "checkpoint-6"):
        job = make_job(provider="scripted", checkpoint_of=parent, checkpoint=checkpoint)
        claims.enqueue(job, role=Role.RESEARCHER, held=False, actor=SYSTEM, source=Source.API)
    assert dispatch.run_pass() == 1
    folder = folder_of(parent)
    assert folder is not None
    assert [spec.checkpoint for spec in provider.specs] == [(folder.root, "checkpoint-5")]
    gone = Job.objects.get(checkpoint="checkpoint-6")
    assert gone.status == JobStatus.PENDING
    assert "is not on this machine" in QueueEntry.objects.get(job=gone).last_error


def test_the_next_run_of_it_begins_anew(client_of: ClientOf, alice: User, trained: MakeJob) -> None:
    job = resumed(client_of(alice), trained(FILES))
    submission = client_of(alice).get(f"/api/cloud/jobs/{job.pk}/next-run").json()["submission"]
    assert "resume_from_checkpoint" not in submission["config"]


def test_a_rule_sees_it(client_of: ClientOf, alice: User, bob: User, trained: MakeJob) -> None:
    ApprovalRule.objects.create(name="cpus", hardware="cpu")
    job = resumed(client_of(alice), trained(FILES))
    [request] = client_of(bob).get("/api/approvals").json()["approvals"]
    assert request["job_id"] == job.pk
    assert job.config["resume_from_checkpoint"] == "checkpoint-5"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"checkpoint": "checkpoint-6"}, "have this checkpoint"),
        ({"checkpoint": "../../secret"}, "have this checkpoint"),
        ({"checkpoint": "checkpoint-5/../checkpoint-5"}, "have this checkpoint"),
        ({"checkpoint": "checkpoint\n-5"}, "have this checkpoint"),
        ({"parent": ""}, "as parent"),
        ({"checkpoint": "x" * 300}, "no more than 255"),
    ],
)
def test_a_wrong_one_is_refused(
    client_of: ClientOf, alice: User, trained: MakeJob, fields: dict[str, Any], sentence: str
) -> None:
    parent = trained(FILES)
    answer = client_of(alice).post(SUBMIT, body(parent, fields), format="json")
    assert answer.status_code == 400
    assert sentence in answer.json()["errors"]["checkpoint"][0]
    assert Job.objects.count() == 1


def test_it_stays_at_its_provider(client_of: ClientOf, alice: User, trained: MakeJob, lab: object) -> None:
    parent = trained(FILES)
    answer = client_of(alice).post("/api/cloud/jobs/submit?provider=lab", body(parent), format="json")
    assert answer.json()["errors"]["checkpoint"] == [
        "The checkpoint is at another provider: choose local, or no checkpoint."
    ]


def test_a_strangers_checkpoint_is_not_there(client_of: ClientOf, charlie: User, trained: MakeJob) -> None:
    assert client_of(charlie).post(SUBMIT, body(trained(FILES)), format="json").status_code == 404


def test_one_that_vanished_is_said_at_the_start(client_of: ClientOf, alice: User, trained: MakeJob) -> None:
    parent = trained(FILES)
    job = resumed(client_of(alice), parent)
    folder = folder_of(parent)
    assert folder is not None
    (folder.root / "checkpoint-5" / "state.json").unlink()
    with pytest.raises(ProviderError, match="is not on this machine") as refusal:
        source_of(job)
    assert refusal.value.nothing_created


def test_a_retry_goes_on_from_the_same(client_of: ClientOf, alice: User, trained: MakeJob, acme: Organization) -> None:
    parent, client = trained(FILES), client_of(alice)
    job = resumed(client, parent)
    client.post(f"/api/cloud/jobs/{job.pk}/cancel")
    answer = client.post(f"/api/cloud/jobs/{job.pk}/retry")
    retried = Job.objects.get(pk=answer.json()["job_id"])
    assert (retried.checkpoint_of, retried.checkpoint) == (parent, "checkpoint-5")
    folder = folder_of(parent)
    assert folder is not None
    (folder.root / "checkpoint-5" / "state.json").unlink()
    client.post(f"/api/cloud/jobs/{retried.pk}/cancel")
    assert client.post(f"/api/cloud/jobs/{retried.pk}/retry").status_code == 400
    assert client_of(make_user("vera", acme, Role.VIEWER)).post(SUBMIT, body(parent), format="json").status_code == 403
