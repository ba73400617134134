"""A provider's answers, applied: what is written of each job, what they cost, and what spoils which of them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_eventstream.models import Event as EventRow
from django_q.models import OrmQ

from cloudtrain_site.database import failures
from cloudtrain_site.notices import outbox
from cloudtrain_site.states import Change, Source
from jobs import logs
from jobs.models import DatedPrice, Job, JobEvent, ProviderConfig
from jobs.outputs.receivers import PREPARE
from jobs.providers.base import Answers, ProviderError, Snapshot
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus
from jobs.sync import apply
from jobs.sync.apply import SnapshotBatch
from tests.events import published_events

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
RUNNING, QUEUED, COMPLETED = JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.COMPLETED
JUST_NOW = timezone.now() + timedelta(hours=1)  # later than any moment of the tests: nothing is stale


@pytest.fixture
def make(make_job: MakeJob) -> MakeJob:
    """A running job at Replicate that was heard of just now."""

    def make_one(**fields: Any) -> Job:
        defaults = {"provider": "replicate", "hardware_profile": "h100", "status": RUNNING, "last_synced_at": JUST_NOW}
        return make_job(**{**defaults, **fields})

    return make_one


def applied(answers: dict[Job, Snapshot | ProviderError], config: ProviderConfig | None = None) -> SnapshotBatch:
    batch = SnapshotBatch({job.pk: job for job in answers}, config or ProviderConfig(name="replicate"), Source.POLL)
    part: Answers = {job.pk: answer for job, answer in answers.items()}
    batch.apply(part)
    return batch


def counts(batch: SnapshotBatch) -> tuple[int, int, int, int]:
    return batch.refreshed, batch.failed, batch.moved, batch.changed


def test_one_that_spoils_the_batch_fails_alone(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [make(external_id=f"x-{number}") for number in range(3)]
    record = Job.record

    def fail_for_one(job: Job, change: Change) -> None:
        if job.pk == jobs[1].pk:
            raise RuntimeError("its history can't be written")
        record(job, change)

    monkeypatch.setattr(Job, "record", fail_for_one)
    batch = applied({job: Snapshot(job.external_id or "", COMPLETED) for job in jobs})
    assert counts(batch) == (2, 1, 2, 2)
    assert list(Job.objects.order_by("id").values_list("status", flat=True)) == ["completed", "running", "completed"]
    assert list(JobEvent.objects.order_by("id").values_list("job", flat=True)) == [jobs[0].pk, jobs[2].pk]
    (line,) = [record for record in caplog.records if record.message == "What the provider said could not be applied"]
    assert line.__dict__["job_id"] == jobs[1].pk


def test_a_full_disk_is_told_once_and_not_for_each_job(
    make: MakeJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(failures, "_logged_at", {})
    monkeypatch.setattr(failures, "_met_at", {})

    def fail(job: Job, change: Change) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def apply_anew() -> int:
        return counts(applied({job: Snapshot(job.external_id or "", COMPLETED) for job in Job.objects.all()}))[1]

    for number in range(3):
        make(external_id=f"x-{number}")
    with monkeypatch.context() as full:
        full.setattr(Job, "record", fail)
        assert [apply_anew(), apply_anew()] == [3, 3]
    (line,) = caplog.records
    assert (line.levelname, line.message) == ("ERROR", "What providers say can't be recorded: the disk is full")
    assert apply_anew() == 0
    assert set(Job.objects.values_list("status", flat=True)) == {"completed"}


def test_moves_are_applied_in_however_many_transactions(make: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "MOVES_PER_TRANSACTION", 2)
    jobs = [make(status=QUEUED, external_id=f"x-{number}") for number in range(5)]
    assert counts(applied({job: Snapshot(job.external_id or "", RUNNING) for job in jobs})) == (5, 0, 5, 5)
    assert set(Job.objects.values_list("status", flat=True)) == {"running"}


def test_details_are_written_in_however_many_statements(make: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "ROWS_PER_STATEMENT", 2)
    monkeypatch.setattr(apply, "DETAILS_PER_TRANSACTION", 2)
    jobs = [make(external_id=f"x-{number}") for number in range(5)]
    silent = [make(external_id=f"y-{number}", last_synced_at=None) for number in range(5)]
    refused = [make(external_id=f"z-{number}") for number in range(5)]
    answers: dict[Job, Snapshot | ProviderError] = {
        **{job: Snapshot(job.external_id or "", RUNNING, output_url="https://example.org") for job in jobs},
        **{job: Snapshot(job.external_id or "", RUNNING) for job in silent},
        **{job: ProviderError("404") for job in refused},
    }
    assert counts(applied(answers)) == (10, 5, 0, 5)
    assert Job.objects.filter(output_url="https://example.org").count() == 5
    assert not Job.objects.filter(last_synced_at=None).exists()
    assert Job.objects.filter(sync_error="404").count() == 5


def test_details_are_not_written_into_a_job_that_ended_meanwhile(make: MakeJob) -> None:
    stale, going = make(external_id="x-1"), make(external_id="x-2")
    Job.objects.filter(pk=stale.pk).update(status=COMPLETED, completed_at=timezone.now())
    batch = applied(
        {job: Snapshot(job.external_id or "", RUNNING, output_url="https://example.org") for job in (stale, going)}
    )
    assert counts(batch) == (2, 0, 0, 1)
    assert dict(Job.objects.values_list("external_id", "output_url")) == {"x-1": "", "x-2": "https://example.org"}


def test_an_error_with_one_job_is_kept_until_it_is_answered_for_again(
    make: MakeJob, django_assert_num_queries: Any
) -> None:
    lost, other = make(external_id="x-1"), make(external_id="x-2")
    assert counts(applied({lost: ProviderError("404"), other: Snapshot("x-2", RUNNING)})) == (1, 1, 0, 0)
    assert dict(Job.objects.values_list("external_id", "sync_error")) == {"x-1": "404", "x-2": ""}
    applied({other: ProviderError("502")})
    lost.refresh_from_db()
    with django_assert_num_queries(0):  # the same error is written once
        applied({lost: ProviderError("404")})
    assert counts(applied({lost: Snapshot("x-1", RUNNING)})) == (1, 0, 0, 1)
    assert dict(Job.objects.values_list("external_id", "sync_error")) == {"x-1": "", "x-2": "502"}


def test_errors_are_written_with_their_own_words(make: MakeJob) -> None:
    first, second, third = (make(external_id=f"x-{number}") for number in range(3))
    applied({first: ProviderError("404"), second: ProviderError("502"), third: ProviderError("404")})
    assert list(Job.objects.order_by("id").values_list("sync_error", flat=True)) == ["404", "502", "404"]


@pytest.mark.parametrize(("seconds", "is_written"), [(None, True), (30, True), (5.5, True), (2, False)])
@pytest.mark.parametrize("log", [None, "begin\n"])
def test_each_poll_writes_when_it_was_and_quicker_looks_do_not(
    make: MakeJob, seconds: float | None, is_written: bool, log: str | None
) -> None:
    at = None if seconds is None else timezone.now() - timedelta(seconds=seconds)
    job, other = make(external_id="x-1", last_synced_at=at), make(external_id="x-2", last_synced_at=at)
    applied({job: Snapshot("x-1", RUNNING, log=log)})
    assert (Job.objects.get(pk=job.pk).last_synced_at != at) is is_written
    assert Job.objects.get(pk=other.pk).last_synced_at == at


def test_a_log_is_stored_with_what_it_says(make: MakeJob) -> None:
    job = make(external_id="x-1")
    progress = Progress(stage="Training", percent=40.0, step=4, total=10, last_log="begin")
    assert counts(applied({job: Snapshot("x-1", RUNNING, progress=progress, log="begin\n")})) == (1, 0, 0, 1)
    kept = Job.objects.get()
    assert (logs.read_log(kept).text, kept.progress, kept.step) == ("begin\n", 40.0, 4)


def test_progress_without_a_log_is_told_and_a_log_without_progress_is_stored(make: MakeJob) -> None:
    first, second = make(external_id="x-1"), make(external_id="x-2")
    applied(
        {first: Snapshot("x-1", RUNNING, progress=Progress(percent=40.0)), second: Snapshot("x-2", RUNNING, log="a\n")}
    )
    assert [f'"job_id": "{first.pk}"' in row.data for row in published_events()] == [True]
    assert logs.read_log(Job.objects.get(pk=second.pk)).text == "a\n"


def test_the_log_of_a_training_whose_data_is_gone_is_complete(make: MakeJob) -> None:
    job = make(external_id="x-1", status=COMPLETED, log_due_at=timezone.now())
    applied({job: Snapshot("x-1", COMPLETED, data_removed=True)})
    assert logs.read_log(Job.objects.get()).complete


def test_an_ended_job_takes_a_cost_that_came_by_itself(make: MakeJob) -> None:
    job = make(external_id="x-1", status=COMPLETED)
    applied({job: Snapshot("x-1", COMPLETED, cost_usd=Decimal("1.5"))})
    assert Job.objects.get().cost_usd == Decimal("1.5")


def test_an_ended_job_takes_the_details_that_came_with_its_log(make: MakeJob) -> None:
    job = make(external_id="x-1", status=COMPLETED, log_due_at=timezone.now())
    snapshot = Snapshot("x-1", COMPLETED, cost_usd=Decimal("1.5"), log="all of it\n")
    assert counts(applied({job: snapshot})) == (1, 0, 0, 1)
    kept = Job.objects.get()
    assert (kept.cost_usd, logs.read_log(kept).text, logs.read_log(kept).complete) == (
        Decimal("1.5"),
        "all of it\n",
        True,
    )


@pytest.mark.parametrize(
    ("snapshot", "provider", "tasks"),
    [
        (Snapshot("x-1", COMPLETED), "replicate", ["jobs.tasks.capture_logs"]),
        (Snapshot("x-1", COMPLETED, log="all of it\n"), "replicate", []),
        (Snapshot("x-1", COMPLETED, data_removed=True), "replicate", []),
        (Snapshot("x-1", RUNNING), "replicate", []),
        (Snapshot("x-1", COMPLETED), "local", []),
    ],
)
def test_the_log_of_a_job_that_ended_without_it_is_fetched(
    make: MakeJob, django_capture_on_commit_callbacks: Any, snapshot: Snapshot, provider: str, tasks: list[str]
) -> None:
    due = None if provider == "local" else timezone.now() + timedelta(minutes=5)
    job, other = (make(external_id=name, provider=provider, status=QUEUED, log_due_at=due) for name in ("x-1", "x-2"))
    with django_capture_on_commit_callbacks(execute=True):
        applied({job: snapshot, other: Snapshot("x-2", RUNNING)})
    assert [name for task in OrmQ.objects.all() if (name := task.func()) not in (outbox.TASK, PREPARE)] == tasks


def test_the_log_of_a_job_that_ended_before_is_not_asked_for_by_each_answer(
    make: MakeJob, django_capture_on_commit_callbacks: Any
) -> None:
    job = make(external_id="x-1", status=COMPLETED, log_due_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        applied({job: Snapshot("x-1", COMPLETED)})
    assert not OrmQ.objects.exists()


def test_the_configs_of_completed_runs_are_read_in_one_query(make: MakeJob) -> None:
    for family in ("flux", "sdxl", "sd3"):
        make(external_id=family, config={"model_family": family, "max_train_steps": 500}, started_at=timezone.now())
    progress = Progress(step=500, total=500)
    jobs = Job.objects.defer("config", "dataloader_config")
    with CaptureQueriesContext(connection) as queries:
        applied(
            {
                job: Snapshot(
                    job.external_id or "",
                    COMPLETED,
                    progress=progress,
                    completed_at=timezone.now() + timedelta(hours=1),
                )
                for job in jobs
            }
        )
    assert len([query for query in queries.captured_queries if "dataloader_config" in query["sql"]]) == 1
    kinds = dict(Job.objects.values_list("external_id", "training_kind"))
    assert all(kind is not None and str(family) in kind for family, kind in kinds.items())


def cost_of_a_poll(make: MakeJob, config: ProviderConfig | None, snapshot: Snapshot, **fields: Any) -> Job:
    applied({make(external_id="x-1", **fields): snapshot}, config)
    return Job.objects.get()


def test_the_providers_own_figure_of_the_cost_wins(make: MakeJob, replicate_config: ProviderConfig) -> None:
    snapshot = Snapshot("x-1", COMPLETED, cost_usd=Decimal("7"), billed_seconds=100.0)
    job = cost_of_a_poll(make, replicate_config, snapshot)
    assert (job.cost_usd, job.metadata) == (Decimal("7"), {})


def test_else_it_is_its_time_at_the_operators_price(make: MakeJob, replicate_config: ProviderConfig) -> None:
    snapshot = Snapshot("x-1", COMPLETED, billed_seconds=100.0, metadata={"version": "v1"})
    job = cost_of_a_poll(make, replicate_config, snapshot)
    price = {"hardware": "h100", "usd_per_second": 0.01, "seconds": 100.0, "as_of": None}
    assert (job.cost_usd, job.metadata) == (Decimal("1"), {"version": "v1", "price": price})


def test_the_hardware_that_the_provider_names_is_paid_for(make: MakeJob, replicate_config: ProviderConfig) -> None:
    job = cost_of_a_poll(make, replicate_config, Snapshot("x-1", COMPLETED, billed_seconds=100.0, hardware="l40s"))
    assert job.cost_usd == Decimal("0.1")


@pytest.mark.parametrize(
    ("seconds", "before", "cost"),
    [(4, "0", "0"), (5, "0", "0.05"), (30, "0", "0.3"), (34, "0.3", "0.3"), (60, "0.3", "0.6")],
)
def test_a_running_jobs_cost_follows_each_poll_and_no_quicker_look(
    make: MakeJob, replicate_config: ProviderConfig, seconds: float, before: str, cost: str
) -> None:
    snapshot = Snapshot("x-1", RUNNING, billed_seconds=seconds)
    job = cost_of_a_poll(make, replicate_config, snapshot, cost_usd=Decimal(before))
    assert (job.cost_usd, job.metadata) == (Decimal(cost), {})


def events() -> list[dict[str, Any]]:
    rows = [json.loads(text) for text in EventRow.objects.order_by("eid").values_list("data", flat=True)]
    return [event for event in rows if event["type"] == "job_progress"]


def test_browsers_are_told_what_running_jobs_cost_by_now(
    make: MakeJob, replicate_config: ProviderConfig, django_assert_max_num_queries: Any
) -> None:
    jobs = [make(external_id=f"x-{number}") for number in range(20)]
    answers = {job: Snapshot(job.external_id or "", RUNNING, billed_seconds=30.0) for job in jobs}
    with django_assert_max_num_queries(19):
        applied(dict(answers), replicate_config)
    published = events()
    assert {event["job_id"] for event in published} == {job.pk for job in jobs}
    assert {event["cost_usd"] for event in published} == {0.3}
    applied({job: Snapshot(job.external_id or "", RUNNING, billed_seconds=60.0) for job in jobs}, replicate_config)
    assert len(events()) == 20, "at most one a second for a job"


def test_nobody_is_told_of_a_cost_that_stands_still(make: MakeJob, replicate_config: ProviderConfig) -> None:
    cost_of_a_poll(make, replicate_config, Snapshot("x-1", RUNNING, billed_seconds=2.0))
    assert events() == []


def test_what_a_running_training_says_is_kept_beside_its_cost(make: MakeJob, replicate_config: ProviderConfig) -> None:
    job = cost_of_a_poll(
        make, replicate_config, Snapshot("x-1", RUNNING, billed_seconds=600, metadata={"version": "v1"})
    )
    assert (job.cost_usd, job.metadata) == (Decimal("6"), {"version": "v1"})


ENDED = Snapshot("x-1", COMPLETED, started_at=timezone.now() - timedelta(hours=1))


@pytest.mark.parametrize("hardware", ["h100", "unheard-of"])
def test_without_a_price_the_cost_is_not_known(make: MakeJob, replicate_config: ProviderConfig, hardware: str) -> None:
    DatedPrice.objects.all().delete()
    config = None if hardware == "h100" else replicate_config
    job = cost_of_a_poll(make, config, ENDED, hardware_profile=hardware)
    assert (job.known_cost, job.cost_doubt) == (None, f"there is no price for {hardware}.")
    assert job.metadata == {}


def test_what_never_began_has_cost_nothing(make: MakeJob, replicate_config: ProviderConfig) -> None:
    job = cost_of_a_poll(make, replicate_config, Snapshot("x-1", JobStatus.CANCELLED))
    assert (job.known_cost, job.metadata) == (Decimal(0), {})


def test_a_price_that_comes_while_it_runs_makes_the_cost_known(make: MakeJob, replicate_config: ProviderConfig) -> None:
    DatedPrice.objects.all().delete()
    running = Snapshot("x-1", RUNNING, billed_seconds=1.0)
    job = cost_of_a_poll(make, None, running)
    assert (job.known_cost, job.cost_doubt) == (None, "there is no price for h100.")
    assert [event["cost_usd"] for event in events()] == [None]
    applied({job: running}, replicate_config)
    assert Job.objects.get().known_cost == Decimal("0.01"), "even if it is little"


def test_what_an_ended_job_has_cost_stays_known(make: MakeJob, replicate_config: ProviderConfig) -> None:
    job = cost_of_a_poll(make, replicate_config, Snapshot("x-1", COMPLETED, billed_seconds=100.0))
    applied({job: Snapshot("x-1", COMPLETED, billed_seconds=100.0, output_url="https://a.example/x")}, None)
    job.refresh_from_db()
    assert (job.known_cost, job.output_url) == (Decimal(1), "https://a.example/x")


def test_of_one_that_cost_nothing_a_start_that_comes_late_makes_the_cost_unknown(make: MakeJob) -> None:
    job = cost_of_a_poll(make, None, Snapshot("x-1", JobStatus.CANCELLED))
    assert job.cost_doubt is None
    began = timezone.now() - timedelta(hours=1)
    applied({job: Snapshot("x-1", JobStatus.CANCELLED, started_at=began)})
    assert Job.objects.get().cost_doubt == "there is no price for h100."


def test_a_cost_that_comes_after_the_end_makes_it_known(make: MakeJob, replicate_config: ProviderConfig) -> None:
    job = cost_of_a_poll(make, None, ENDED)
    applied({job: Snapshot("x-1", COMPLETED, billed_seconds=100.0)}, replicate_config)
    job.refresh_from_db()
    assert (job.known_cost, job.cost_doubt, job.metadata["price"]["seconds"]) == (Decimal(1), None, 100.0)
