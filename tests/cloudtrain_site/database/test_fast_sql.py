"""The statements of a change: a row is updated while it is as it was read, and many rows come in at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import DataError, IntegrityError, connection, models, transaction
from django.utils import timezone

from approvals.models import ApprovalRequest, Requirement
from cloudtrain_site.database.fast_sql import insert, insert_one, unsaved, update_if, update_rows
from cloudtrain_site.notices.models import Notice
from jobs.models import Job, JobEvent
from jobs.statuses import JobStatus
from queueing.models import QueueEntry

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
MANY = 3_000


def line(job: Job, number: int = 0) -> JobEvent:
    """A line of history that says which one it is."""
    return JobEvent(
        job_id=job.pk, subject="job", new="pending", actor="alice", source="api", reason=f"%s {number}",
        correlation_id="c", at=timezone.now(),
    )  # fmt: skip


@pytest.mark.parametrize("model", [Job, JobEvent, QueueEntry, ApprovalRequest, Requirement, Notice])
def test_an_unsaved_object_is_as_its_class_would_make_it(model: type[models.Model]) -> None:
    made, expected = vars(unsaved(model)), vars(model())
    assert made.keys() == expected.keys()
    made_anew = {field.attname for field in model._meta.fields if field.has_default() and callable(field.default)}
    assert {name: value for name, value in made.items() if name not in {"_state", *made_anew}} == {
        name: value for name, value in expected.items() if name not in {"_state", *made_anew}
    }
    assert {name: type(made[name]) for name in made_anew} == {name: type(expected[name]) for name in made_anew}


def test_an_unsaved_object_has_defaults_and_relations_of_its_own(make_job: MakeJob) -> None:
    job = make_job()
    first, second = unsaved(QueueEntry, job=job, provider="local"), unsaved(QueueEntry)
    assert (first.job, first.job_id, first.provider, first._state.adding) == (job, job.pk, "local", True)
    assert unsaved(Job).metadata is not unsaved(Job).metadata
    assert second.job_id is None


def test_an_unsaved_object_has_no_field_that_its_class_lacks() -> None:
    with pytest.raises(FieldDoesNotExist):
        unsaved(JobEvent, job_ld="a-job")


def test_a_row_is_written_while_it_is_as_it_was_read(make_job: MakeJob) -> None:
    job, other = make_job(), make_job()
    now = timezone.now()
    values = {"started_at": now, "metadata": {"50%": ["ä", None]}, "stage": None, "progress": 12.5}

    assert update_if(Job, {"id": job.pk, "status": JobStatus.PENDING, "external_id": None}, values)

    kept = Job.objects.get(pk=job.pk)
    assert (kept.started_at, kept.metadata, kept.stage, kept.progress) == (now, {"50%": ["ä", None]}, None, 12.5)
    assert Job.objects.get(pk=other.pk).started_at is None


@pytest.mark.parametrize(
    "read",
    [
        {"status": JobStatus.RUNNING},
        {"status": JobStatus.PENDING, "external_id": "theirs"},
        {"status": JobStatus.PENDING, "started_at": None},
        {"status": JobStatus.PENDING, "created_at": timezone.now() + timedelta(days=1)},
    ],
)
def test_a_row_that_has_moved_on_is_left_alone(make_job: MakeJob, read: dict[str, object]) -> None:
    job = make_job(started_at=timezone.now())

    assert not update_if(Job, {"id": job.pk, **read}, {"config_name": "never"})

    assert Job.objects.get().config_name == job.config_name


def test_one_row_is_as_if_it_were_saved(make_job: MakeJob) -> None:
    job = make_job(config={"a": [1.50, None, "ä"]}, estimated_cost_usd=Decimal("1.23456"))
    entry = QueueEntry(job=job, provider="local", priority=10, turn=1.5, enqueued_at=timezone.now())

    insert_one(entry)

    QueueEntry.objects.filter(pk=entry.pk).update(priority=20)
    assert (entry.effective_priority, entry._state.adding) == (10, False)  # as it was inserted, without a query
    entry.refresh_from_db()
    assert (entry.priority, entry.turn, entry.status, entry.job_id) == (20, 1.5, "pending", job.pk)

    other = Job(
        **{field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields} | {"id": "z" * 26}
    )
    other.name_key = None  # a field that sets its own value
    insert_one(other)
    columns = [field.attname for field in Job._meta.concrete_fields if not field.primary_key]
    rows = Job.objects.filter(pk__in=[job.pk, other.pk]).values_list(*columns)
    assert rows[0] == rows[1]
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_one(other)


def test_rows_come_in_in_their_order_however_many(make_job: MakeJob) -> None:
    job = make_job()

    insert([line(job, number) for number in range(MANY)])

    stored = JobEvent.objects.order_by("id").values_list("reason", flat=True)
    assert list(stored) == [f"%s {number}" for number in range(MANY)]


@pytest.mark.parametrize("text", ["", "NULL", '{"a", b}', "back\\slash", "'quotes'\" and %s", "two\nlines", "Größe 🎨"])
def test_texts_come_in_as_they_are(make_job: MakeJob, text: str) -> None:
    job = make_job()
    lines = [line(job), line(job)]
    for one in lines:
        one.reason = text

    insert(lines)

    assert list(JobEvent.objects.values_list("reason", "old")) == [(text, lines[0].old)] * 2


def test_each_row_gets_its_own_values_unless_it_has_moved_on(make_job: MakeJob) -> None:
    jobs = [
        make_job(status=JobStatus.RUNNING),
        make_job(status=JobStatus.RUNNING),
        make_job(status=JobStatus.COMPLETED),
    ]
    for number, job in enumerate(jobs):
        job.cost_usd, job.metadata, job.stage = (
            Decimal(f"0.{number}5"),
            {'"': [number]},
            f'"{number}\\' if number else None,
        )

    assert update_rows(jobs, ["cost_usd", "metadata", "stage"], among={"status": [JobStatus.RUNNING]}) == 2

    stored = [Job.objects.get(pk=job.pk) for job in jobs]
    written = [(job.cost_usd, job.metadata, job.stage) for job in stored]
    assert written == [(job.cost_usd, job.metadata, job.stage) for job in jobs[:2]] + [(0, {}, None)]


def test_a_text_that_is_too_long_is_refused(make_job: MakeJob) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite keeps texts of any length")
    lines = [line(make_job()), line(make_job())]
    lines[1].source = "s" * 1000

    with pytest.raises(DataError), transaction.atomic():
        insert(lines)


def test_a_row_that_the_database_refuses_keeps_the_others_out(make_job: MakeJob) -> None:
    wrong = line(make_job(), 1)
    wrong.actor = None  # type: ignore[assignment]

    with pytest.raises(IntegrityError), transaction.atomic():
        insert([line(wrong.job), wrong])

    assert not JobEvent.objects.exists()
