"""SimpleTuner's jobs are stored once, cost what they cost, and go on where they run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudtrain_site.states import Source
from examples.fake_replicate import FakeReplicate, Prediction
from jobs.costs.verification import verify
from jobs.models import Job, JobEvent, LedgerEntry, Organization
from jobs.roles import Role
from jobs.simpletuner import storing
from jobs.simpletuner.outcome import Fate
from jobs.simpletuner.people import People
from jobs.simpletuner.source import Row
from jobs.simpletuner.storing import JobImport
from jobs.sync.refresh import active_jobs, refresh
from tests.factories import make_user
from tests.simpletuner_databases import CAPTIONING, LOCAL_JOB, REPLICATE_JOB, WORKER_JOB

pytestmark = pytest.mark.django_db


class Rows:
    """A source that is no file."""

    def __init__(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        self.jobs = [{**job, "metadata": json.dumps(job["metadata"])} for job in jobs]

    def rows(self, table: str) -> Iterator[Row]:
        return iter(self.jobs if table == "jobs" else [])


@pytest.fixture(autouse=True)
def owner(acme: Organization) -> User:
    return make_user("olga", acme, Role.ADMIN)


def store(*jobs: Mapping[str, Any]) -> JobImport:
    source: Any = Rows(jobs)
    organization = Organization.objects.get(name="acme")
    imported = JobImport(source, organization, People(source, organization), lambda job_ids: {})
    imported.run(apply=True)
    return imported


def test_the_cost_is_one_entry_in_its_month_at_the_price_of_what_ran(replicate_config: Any) -> None:
    store(REPLICATE_JOB, {**LOCAL_JOB, "cost_usd": 0.25})
    job = Job.objects.get(provider="replicate")
    assert job.cost_usd == Decimal("36.0000")  # an hour of an H100 for a cent a second, not of the L40S
    assert job.metadata["imported_cost_usd"] == 3.5
    assert job.duration_ms == 3_600_000
    entries = LedgerEntry.objects.order_by("amount")
    assert [str(one.amount) for one in entries] == ["0.250000", "36.000000"]
    assert {(one.kind, one.source, one.reason, one.by, one.sequence, one.period) for one in entries} == {
        ("correct", "person", "imported", "operator", 1, "2026-05")
    }
    assert not verify().differences


def test_without_a_price_it_costs_what_simpletuner_said(replicate_config: Any) -> None:
    metadata = {"hardware_profile": "h100-x8"}
    store(
        {**REPLICATE_JOB, "metadata": metadata},
        {**REPLICATE_JOB, "job_id": "b" * 26, "metadata": metadata, "cost_usd": None},
    )
    assert dict(Job.objects.values_list("cost_usd", "cost_doubt")) == {
        Decimal("3.5000"): None,
        Decimal("0.0000"): storing.NO_COST,
    }


def test_a_running_job_is_followed_to_its_end(fake: FakeReplicate, replicate_config: Any) -> None:
    prediction = Prediction(model="simpletuner/advanced-trainer-h100", version="v1", input={})
    fake.call(fake.predictions.add, prediction)
    fake.update(prediction.id, "processing")
    now = timezone.now().isoformat()
    row = {**REPLICATE_JOB, "status": "running", "created_at": now, "started_at": now, "completed_at": None}
    assert store({**row, "job_id": prediction.id, "output_url": None}).adopted == 1
    assert Job.objects.get().status == "running"
    assert not LedgerEntry.objects.exists()

    fake.update(prediction.id, "succeeded", output="https://replicate.delivery/toys.safetensors")
    refresh(active_jobs(), source=Source.POLL)
    job = Job.objects.get()
    assert (job.status, job.external_id) == ("completed", prediction.id)
    assert job.output_url == "https://replicate.delivery/toys.safetensors"
    assert [one.new for one in JobEvent.objects.filter(job=job)] == ["running", "completed"]


def test_what_was_found_before_is_not_stored_again(acme: Organization) -> None:
    Job.objects.create(
        organization=acme, provider="replicate", external_id=REPLICATE_JOB["job_id"], config_name="found"
    )
    assert store(REPLICATE_JOB).outcome.count(Fate.THERE) == 1
    assert Job.objects.get().config_name == "found"


def test_two_rows_of_one_prediction_are_one_job() -> None:
    upload = {**REPLICATE_JOB, "job_id": "7f0c2a5e-3b1d-4e7a-9f60-1d2c3b4a5e6f"}
    upload["metadata"] = {"prediction_id": REPLICATE_JOB["job_id"]}
    assert "a second row of one training" in "".join(store(REPLICATE_JOB, upload).outcome.lines())
    assert Job.objects.count() == 1


def test_a_killed_import_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**LOCAL_JOB, "job_id": f"{number:08x}"} for number in range(7)]
    monkeypatch.setattr(storing, "ROWS_PER_TRANSACTION", 3)
    record, calls = Job.record, list[int]()

    def killed_at_the_fifth(job: Job, change: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        record(job, change)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Job, "record", killed_at_the_fifth)
        store(*rows)
    assert Job.objects.count() == 3
    outcome = store(*rows).outcome
    assert (outcome.count(Fate.NEW), outcome.count(Fate.THERE)) == (4, 3)
    assert set(Job.objects.values_list("number", flat=True)) == set(range(1, 8))
    assert JobEvent.objects.count() == 7


ROWS = st.builds(
    lambda base, number, status, cost, second: {
        **base,
        "job_id": f"{number:08x}",
        "status": status,
        "cost_usd": cost,
        "created_at": f"2026-05-02T10:00:{second:02}Z",
        "started_at": f"2026-05-02T10:01:{second:02}Z",
    },
    st.sampled_from([REPLICATE_JOB, LOCAL_JOB, WORKER_JOB, CAPTIONING]),
    st.integers(0, 9),
    st.sampled_from(["pending", "uploading", "queued", "running", "completed", "failed", "cancelled", "strange"]),
    st.none() | st.floats(-1, 100) | st.just("x"),
    st.integers(0, 59),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=8, unique_by=lambda row: row["job_id"]), part=st.integers(0, 8))
def test_twice_adds_nothing(rows: list[dict[str, Any]], part: int) -> None:
    """Whatever the rows are, and whether a part of them came first."""
    before = Job.objects.count()
    first, all_rows = store(*rows[:part]).outcome, store(*rows).outcome
    stored = list(Job.objects.order_by("pk").values())
    again = store(*rows).outcome
    assert again.count(Fate.NEW) == 0
    assert list(Job.objects.order_by("pk").values()) == stored
    assert len(stored) == before + first.count(Fate.NEW) + all_rows.count(Fate.NEW)
    assert LedgerEntry.objects.count() == Job.objects.filter(cost_usd__gt=0).count()
    assert not verify().differences
