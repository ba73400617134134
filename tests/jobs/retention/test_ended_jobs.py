"""Old jobs go with all that belongs to them but what proves their costs, and nothing that is needed goes."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from math import inf
from operator import attrgetter
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import CASCADE
from django.utils import timezone

from approvals import decisions
from approvals.models import ApprovalRequest
from cloudtrain_site.conf.retention import Retention
from cloudtrain_site.states import SYSTEM, Source
from jobs.costs.verification import verify
from jobs.models import DayCost, Job, JobTag, KeptCurves, LogPiece, StoredOutput, Tag, WebhookDelivery
from jobs.outputs import retention
from jobs.outputs.retention import due_removals
from jobs.outputs.store import folder_of
from jobs.providers.base import ProviderError
from jobs.retention import ended_jobs
from jobs.statuses import JobStatus
from tests.approvals.conftest import first_job_rule, held, request_, submission_request
from tests.jobs.outputs.aged import days_ago
from tests.providers import ScriptedProvider
from tests.spending import run, spend

pytestmark = pytest.mark.django_db
LONG_AGO = days_ago(400)
BEFORE = timezone.now() - timedelta(days=365)


def old(make: Callable[..., Job], **fields: Any) -> Job:
    job = make(**{"status": JobStatus.COMPLETED, **LONG_AGO, **fields})
    job.record_note(SYSTEM, Source.API, "a line of its history")
    return job


def remove() -> int:
    return ended_jobs.remove_old(BEFORE, inf)


def rows_beside(job: Job) -> dict[str, int]:
    """How many rows would go with the job's own, by model."""
    counts = {}
    for relation in Job._meta.related_objects:
        model: Any = relation.related_model
        if relation.on_delete is CASCADE:
            counts[model.__name__] = model.objects.filter(**{relation.field.name: job}).count()
    return {name: count for name, count in counts.items() if count}


def test_an_old_job_goes_with_its_request_entry_history_log_and_deliveries(
    request_: ApprovalRequest, bob: User
) -> None:
    assert decisions.reject(request_, user=bob, source=Source.API, notes="no")
    job = Job.objects.get()
    LogPiece.objects.create(job=job, start=0, end=3, text="abc")
    KeptCurves.objects.create(job=job, requested_at=timezone.now())
    assert job.organization
    JobTag.objects.create(job=job, tag=Tag.objects.create(organization=job.organization, name="x"))
    WebhookDelivery.objects.create(provider="replicate", job=job, delivery_id="1", verdict="accepted", payload={"a": 1})
    Job.objects.filter(pk=job.pk).update(**LONG_AGO, sealed="x", error_message="x", metadata={"a": "x"}, note="x")
    assert rows_beside(job).keys() >= {"ApprovalRequest", "QueueEntry", "JobEvent", "LogPiece", "KeptCurves", "JobTag"}

    assert (remove(), remove()) == (1, 0)

    job.refresh_from_db()
    assert rows_beside(job) == {}
    assert not WebhookDelivery.objects.exists()
    assert job.deleted_at is not None
    assert (job.config, job.metadata, job.sealed, job.error_message, job.note) == ({}, {}, "", "", None)
    assert (job.config_name, job.number, job.status) == ("flux", 1, JobStatus.CANCELLED)
    assert job.log_removed_at is not None


def test_its_costs_stay_as_they_were_and_are_proven(acme: Any, alice: Any) -> None:
    spend(
        LONG_AGO["created_at"].date(),
        "3.5",
        organization=acme,
        submitted_by=alice,
        external_id="r-1",
        provider="replicate",
    )
    job = Job.objects.get()
    job.record_note(SYSTEM, Source.API, "ended")
    before = list(job.ledger_entries.values()), list(DayCost.objects.values())
    assert remove() == 1
    job.refresh_from_db()
    assert (list(job.ledger_entries.values()), list(DayCost.objects.values())) == before
    assert (job.cost_usd, job.external_id) == (Decimal("3.5"), "r-1")
    assert verify().differences == []


@pytest.mark.parametrize(
    "fields",
    [
        {"status": JobStatus.RUNNING, "completed_at": None},
        {"status": JobStatus.PENDING, "started_at": None, "completed_at": None},
        days_ago(300),
    ],
)
def test_an_active_job_and_a_young_one_stay(make_job: Callable[..., Job], fields: dict[str, Any]) -> None:
    job = old(make_job, **fields)
    assert remove() == 0
    assert Job.objects.get().config == job.config
    assert job.events.exists()


def test_a_job_whose_cost_is_not_settled_stays(acme: Any) -> None:
    job = run("5", "1", organization=acme)
    job.record_note(SYSTEM, Source.API, "a line")
    Job.objects.update(status=JobStatus.COMPLETED, **LONG_AGO)
    assert remove() == 0
    assert job.events.exists()


def test_a_job_goes_after_its_results_which_are_kept_no_longer_than_it(trained: Callable[..., Job]) -> None:
    job = old(trained, files={"model.safetensors": b"1"})
    assert remove() == 0, "they are measured now, at the latest"
    stored = retention._stored()
    assert due_removals(stored, Retention(jobs=timedelta(days=365)), timezone.now()) == {job.pk: "outputs"}
    assert not due_removals(stored, Retention(), timezone.now())
    folder = folder_of(job)
    assert folder
    (folder.root / "model.safetensors").unlink()
    assert remove() == 0, "as long as nobody has measured that"
    StoredOutput.objects.update(size=0, files=0)
    assert remove() == 1
    assert StoredOutput.objects.exists()
    assert not folder.root.exists()


def test_what_a_kill_left_between_the_files_and_the_rows_goes_with_the_next_run(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = old(make_job)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ended_jobs, "_empty", _killed)
        remove()
    job.refresh_from_db()
    assert (job.deleted_at is not None, job.config != {}, job.events.exists()) == (True, True, True)
    assert remove() == 1
    assert not job.events.exists()


def test_a_provider_that_is_away_keeps_its_jobs_and_no_others(
    make_job: Callable[..., Job], add_provider: Callable[[ScriptedProvider], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ScriptedProvider()
    add_provider(provider)
    waits = [old(make_job, provider="scripted", external_id=f"s-{number}") for number in range(2)]
    goes = old(make_job)
    asked: list[str] = []

    async def away(handle: Any) -> None:
        asked.append(handle.job_id)
        raise ProviderError("away")

    monkeypatch.setattr(provider, "delete_files", away)
    assert remove() == 1
    assert len(asked) == 1
    assert not goes.events.exists()
    monkeypatch.undo()
    add_provider(ScriptedProvider())
    assert remove() == 2
    assert not any(job.events.exists() for job in waits)


def test_a_job_whose_files_can_never_be_removed_keeps_no_other_from_its_turn(
    make_job: Callable[..., Job], add_provider: Callable[[ScriptedProvider], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ScriptedProvider()
    add_provider(provider)
    made = [old(make_job, provider="scripted", external_id=f"s-{number}") for number in range(3)]
    stuck, *others = sorted(made, key=attrgetter("pk"))

    async def refuse_one(handle: Any) -> None:
        if handle.job_id == stuck.pk:
            raise ProviderError("The job's folder can't be removed.")

    monkeypatch.setattr(provider, "delete_files", refuse_one)
    assert (remove(), remove()) == (0, 2)
    assert stuck.events.exists() and not any(job.events.exists() for job in others)


def _killed(ids: Any) -> int:
    raise KeyboardInterrupt
